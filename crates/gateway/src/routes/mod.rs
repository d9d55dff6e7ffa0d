//! What the control plane shows of the data plane: the queue, the requests under way and the records of those that have ended.

mod figures;
mod queue;
mod requests;
mod residency;
mod simulation;
mod under_way;

pub use self::figures::Figures;
pub(crate) use self::queue::QueueWindow;
pub use self::requests::{RequestBody, RequestRecords, RequestsQuery, ShowRequestsError};

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use identity::Identity;
use primitives::SystemClock;
use store::Db;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::KeptAnswers;

/// What the handlers need.
#[derive(Clone)]
struct RecordsState {
    db: Db,
    identity: Identity,
    /// Tells how old a kept list is.
    clock: SystemClock,
    lists: Arc<KeptAnswers<RequestsQuery>>,
    simulating: Arc<Semaphore>,
}

/// Simulations at a time: each keeps a processor busy for a second or so.
const SIMULATIONS: usize = 1;
/// How long a list of requests is kept.
const LASTS: Duration = Duration::from_millis(200);

impl FromRef<RecordsState> for Identity {
    fn from_ref(state: &RecordsState) -> Self {
        state.identity.clone()
    }
}

/// Returns the routes that list, explain and stop requests, and show the queue.
pub fn routes(db: Db, identity: Identity) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(figures::show_figures))
        .routes(routes!(queue::show_queue))
        .routes(routes!(requests::list_requests))
        .routes(routes!(requests::show_request))
        .routes(routes!(residency::load_model))
        .routes(routes!(residency::unload_model))
        .routes(routes!(simulation::simulate_policies))
        .routes(routes!(under_way::list_active_requests))
        .routes(routes!(under_way::cancel_request))
        .with_state(RecordsState {
            db,
            identity,
            clock: SystemClock::new(),
            lists: Arc::new(KeptAnswers::new(LASTS)),
            simulating: Arc::new(Semaphore::new(SIMULATIONS)),
        })
}
