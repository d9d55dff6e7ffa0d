//! What the fleet did: statistics of requests by the hour, day and week, and the history of each node's health and load.
//!
//! Both are rolled up from what is there already (request records, the fleet's snapshot) and kept longer than that. Nothing here is on
//! the way of a request, and nothing is written for one: what is lost here is a point of a plot.

mod history;
mod metrics;
mod request_statistics;
mod routes;
mod sampling;
mod span;
mod store;
mod surface;

pub use history::{HistoryError, NodePoint};
pub use request_statistics::{StatisticsError, StatisticsQuery, StatisticsRow};
pub use span::Span;
pub use surface::{Duty, Fleet, FleetConfig, FleetDeps, Turns};
