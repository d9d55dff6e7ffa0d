//! HTTP of the domain: decode, call one operation, encode. For administrators of the platform only, as request records are.

mod node_history;
mod request_statistics;
mod times;

use axum::extract::FromRef;
use identity::Identity;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::surface::Fleet;

impl FromRef<Fleet> for Identity {
    fn from_ref(fleet: &Fleet) -> Self {
        fleet.inner.identity.clone()
    }
}

impl Fleet {
    /// Returns the routes of statistics and history, with their descriptions.
    pub fn routes(&self) -> OpenApiRouter<()> {
        OpenApiRouter::new()
            .routes(routes!(request_statistics::show_request_statistics))
            .routes(routes!(node_history::show_node_history))
            .with_state(self.clone())
    }
}
