//! What the control plane shows of the data plane: the queue and request records.

mod queue;
mod requests;

pub(crate) use self::queue::QueueWindow;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use identity::Identity;
use primitives::SystemClock;
use store::Db;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::KeptAnswers;

use self::requests::RequestsQuery;

/// What the handlers need.
#[derive(Clone)]
struct RecordsState {
    db: Db,
    identity: Identity,
    /// Tells how old a kept list is.
    clock: SystemClock,
    lists: Arc<KeptAnswers<RequestsQuery>>,
}

/// How long a list of requests is kept.
const LASTS: Duration = Duration::from_millis(200);

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
        .with_state(RecordsState {
            db,
            identity,
            clock: SystemClock::new(),
            lists: Arc::new(KeptAnswers::new(LASTS)),
        })
}
