//! What the control plane shows of the data plane: the queue and request records.

mod queue;
mod requests;

pub(crate) use self::queue::QueueWindow;
pub use self::requests::{RequestBody, RequestRecords, RequestsQuery, ShowRequestsError};

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

/// Returns the routes that list and explain requests, and show the queue.
pub fn routes(db: Db, identity: Identity) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(queue::show_queue))
        .routes(routes!(requests::list_requests))
        .routes(routes!(requests::show_request))
        .with_state(RecordsState { db, identity })
}
