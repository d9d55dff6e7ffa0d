//! Calls to nodes over HTTP/1.1: one pool of connections per worker thread, no shared locks between cores.

pub(crate) mod ability;
pub(crate) mod attempt;
mod body;
mod dial;
pub(crate) mod engine_call;
mod http1;
mod lost_agents;
mod pool;
pub(crate) mod prepare;
pub(crate) mod refusal;
mod target;

pub(crate) use body::UpstreamBody;
pub(crate) use dial::Dialer;
pub(crate) use http1::{ExchangeError, ResponseHead};
pub(crate) use pool::{Pool, Response, UpstreamRequest};
pub(crate) use target::Target;

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use primitives::{NodeId, RequestId};
use scheduling::Health;

use crate::shared::Shared;

/// How often a silent node is looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(5);

/// Why a node could not be asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// No connection came up.
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    /// The address is one that nodes may not have.
    #[error("address refused: {0}")]
    Refused(String),
    /// The connection did not come up in time.
    #[error("no connection within {} ms", .0.as_millis())]
    ConnectTimeout(Duration),
    /// The connection broke before the answer's head.
    #[error("connection broke before the answer: {0}")]
    Broken(#[source] ExchangeError),
    /// The head of the answer did not come in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl UpstreamError {
    /// Tells whether no connection could be made at all.
    pub(crate) const fn is_connect(&self) -> bool {
        matches!(
            self,
            Self::Connect(_) | Self::ConnectTimeout(_) | Self::Refused(_)
        )
    }
}

/// Returns what a node is told beside a body of this type: who asks, for which request, and the gateways that it has passed.
pub(crate) fn request_headers(
    id: RequestId,
    content_type: HeaderValue,
    hops: &HeaderValue,
    traceparent: Option<&HeaderValue>,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(7);
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("remuda"));
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert("x-request-id", id);
    }
    headers.insert(web::HOPS_HEADER, hops.clone());
    if let Some(trace) = traceparent {
        headers.insert("traceparent", trace.clone());
    }
    headers
}

/// Tells whether a node was given up meanwhile: whoever waits for it waits in vain.
pub(crate) fn has_died(shared: &Shared, node: NodeId) -> bool {
    let fleet = shared.registry.snapshot();
    let view = fleet.nodes.iter().find(|view| view.id == node);
    view.is_some_and(|view| view.health == Health::Dead)
}
