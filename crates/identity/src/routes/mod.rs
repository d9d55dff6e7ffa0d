//! HTTP of the domain: decode, call one operation, encode.

mod keys;
mod me;
mod organisations;
mod password;
mod scoped_page;
mod setup;
mod sign_in;
mod users;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::identity::Identity;

impl Identity {
    /// Returns the routes of set-up, sign-in, keys, organisations and people, with their descriptions.
    pub fn routes(&self) -> OpenApiRouter<()> {
        OpenApiRouter::new()
            .routes(routes!(setup::set_up))
            .routes(routes!(sign_in::log_in))
            .routes(routes!(sign_in::log_out))
            .routes(routes!(me::show_me))
            .routes(routes!(password::change_password))
            .routes(routes!(keys::list_keys, keys::create_key))
            .routes(routes!(keys::revoke_key))
            .routes(routes!(
                organisations::list_organisations,
                organisations::create_organisation
            ))
            .routes(routes!(users::list_users, users::create_user))
            .routes(routes!(users::edit_user))
            .with_state(self.clone())
    }
}
