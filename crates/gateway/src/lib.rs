//! The data plane: takes a request in any client dialect, routes it to a node, relays the answer and books what happened.
//!
//! One worker thread per core serves connections with its own runtime and its own upstream connections. The path of a
//! request reads top to bottom in `front`: authenticate from the snapshot, read the head of the body, route,
//! call upstream, relay, record. It must never call the database: identities and the fleet are snapshots, and records
//! leave through a bounded buffer (`recorder`).

mod admission;
mod body;
mod body_memory;
mod coalescing;
mod config;
mod connect;
mod control;
mod door;
mod engine_server;
mod exchange;
mod fleet_view;
mod front;
mod limits;
mod live;
mod metrics;
mod model_commands;
mod personal;
mod pulse;
mod record;
mod recorder;
mod relay;
mod routes;
mod routing;
mod secure;
mod server;
mod shared;
mod sharing;
mod splitting;
mod store;
#[cfg(test)]
mod testing;
mod unary;
mod under_way;
mod upstream;

pub use coalescing::CoalescingRules;
pub use config::{CallerLimits, GatewayConfig, ModelRouting};
pub use control::ControlPlane;
pub use engine_server::EngineServer;
pub use front::{DirectAnswer, DirectRoutes, DirectWorker, Inside, InsideRequest};
pub use metrics::Metrics;
pub use personal::RequestsOfPeople;
pub use record::{Caller, Outcome, RecordOwner, RequestRecord, SplitRecord};
pub use recorder::EndObserver;
pub use routes::{Figures, RequestBody, RequestRecords, RequestsQuery, ShowRequestsError, routes};
pub use server::{Gateway, GatewayDeps, StartGatewayError};
