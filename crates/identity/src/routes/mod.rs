//! HTTP of the domain: decode, call one operation, encode.

mod keys;
mod me;
mod setup;
mod sign_in;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::identity::Identity;

impl Identity {
    /// Returns the routes of set-up, sign-in and keys, with their descriptions.
    pub fn routes(&self) -> OpenApiRouter<()> {
        OpenApiRouter::new()
            .routes(routes!(setup::set_up))
            .routes(routes!(sign_in::log_in))
            .routes(routes!(sign_in::log_out))
            .routes(routes!(me::show_me))
            .routes(routes!(keys::list_keys, keys::create_key))
            .routes(routes!(keys::revoke_key))
            .with_state(self.clone())
    }
}
