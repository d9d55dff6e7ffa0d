//! Who answers the lines of batches.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use identity::{Principal, PriorityClass};

/// A line to be answered.
#[derive(Clone, Debug)]
pub struct BatchRequest {
    /// On whose behalf, as they are now.
    pub principal: Principal,
    /// Where they asked from, where that is known.
    pub client_address: Option<IpAddr>,
    /// The path, as `/v1/chat/completions`.
    pub endpoint: String,
    /// How soon it may be served.
    pub class: PriorityClass,
    /// The request's body.
    pub body: Bytes,
}

/// What a line came to.
#[derive(Clone, Debug)]
pub struct BatchAnswer {
    /// The status of HTTP.
    pub status: u16,
    /// The request, which `remuda why` explains.
    pub request_id: String,
    /// When it is worth while again, where the answer said so.
    pub retry_after: Option<Duration>,
    /// The body of the answer.
    pub body: Bytes,
}

/// Answers lines as live requests are answered: the same queue, limits, routing and records.
pub trait BatchExecutor: Send + Sync {
    /// Tells whether there is such an endpoint.
    fn serves(&self, endpoint: &str) -> bool;

    /// Answers a request. Dropping the future ends the work.
    fn answer(&self, request: BatchRequest) -> BoxFuture<'static, BatchAnswer>;
}
