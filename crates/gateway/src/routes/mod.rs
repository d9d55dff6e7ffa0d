//! What the control plane shows of the data plane: request records.

mod requests;

use axum::extract::FromRef;
use identity::Identity;
use store::Db;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What the handlers need.
#[derive(Clone)]
struct RecordsState {
    db: Db,
    identity: Identity,
}

impl FromRef<RecordsState> for Identity {
    fn from_ref(state: &RecordsState) -> Self {
        state.identity.clone()
    }
}

/// Returns the routes that list and explain requests.
pub fn routes(db: Db, identity: Identity) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(requests::list_requests))
        .routes(routes!(requests::show_request))
        .with_state(RecordsState { db, identity })
}
