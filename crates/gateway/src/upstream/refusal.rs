//! How a try went wrong: whose fault it is, and whether another node helps.

use dialects::{ApiError, CONTEXT_EXCEEDED, Dialect, decode_error};
use primitives::ErrorKind;
use scheduling::CallOutcome;

use super::attempt::{Failure, Retry};
use super::{ResponseHead, UpstreamError};
use crate::routing::RETRY_AFTER;

/// A request that this node cannot serve may be one that another kind of node can.
pub(super) fn unprepared(error: ApiError) -> Failure {
    let retry = if error.kind == ErrorKind::Unsupported {
        Retry::OtherNode
    } else {
        Retry::Never
    };
    Failure {
        error,
        retry,
        outcome: CallOutcome::NotTheNode,
        reason: "unsupported",
    }
}

/// A node that was given up while it was waited for.
pub(crate) fn died(node: &str) -> Failure {
    Failure::node(
        "timeout",
        ApiError::new(
            ErrorKind::Timeout,
            format!("node {node} answers nobody any more: try again soon"),
        ),
    )
}

/// Says a failed connection in words for the client, without addresses.
pub(crate) fn broken(node: &str, error: &UpstreamError) -> Failure {
    tracing::debug!(node, %error, "a node could not be asked");
    let (reason, kind, text) = match error {
        UpstreamError::Timeout(limit) => (
            "timeout",
            ErrorKind::Timeout,
            format!("node {node} did not answer within {} s", limit.as_secs()),
        ),
        UpstreamError::Broken(_) => (
            "reset",
            ErrorKind::Upstream,
            format!("node {node} broke the connection before it answered"),
        ),
        UpstreamError::Connect(_)
        | UpstreamError::ConnectTimeout(_)
        | UpstreamError::Refused(_) => (
            "connect",
            ErrorKind::Unavailable,
            format!("node {node} cannot be reached: try again soon"),
        ),
    };
    let mut said = ApiError::new(kind, text);
    if error.is_connect() {
        said = said.with_retry_after(RETRY_AFTER);
    }
    Failure {
        error: said,
        retry: Retry::OtherNode,
        outcome: if error.is_connect() {
            CallOutcome::ConnectFailure
        } else {
            CallOutcome::Failure
        },
        reason,
    }
}

/// Reads an error answer: whose fault is it, and does another node help?
pub(super) fn refused(node: &str, dialect: Dialect, head: &ResponseHead, body: &[u8]) -> Failure {
    let mut error = decode_error(dialect, head.status.as_u16(), body);
    if error.retry_after.is_none() {
        error.retry_after = head.retry_after;
    }
    if error.code.as_deref() == Some(CONTEXT_EXCEEDED) {
        return Failure {
            error,
            retry: Retry::OtherNode,
            outcome: CallOutcome::NotTheNode,
            reason: "context",
        };
    }
    match head.status.as_u16() {
        401 | 403 => Failure::node(
            "credentials",
            ApiError::upstream(format!(
                "node {node} refused our credentials: give it another key with `remuda node add` or in the configuration"
            )),
        ),
        // The snapshot said that the model is there: it has just been deleted, or the server was exchanged.
        404 => Failure {
            outcome: CallOutcome::NotTheNode,
            ..Failure::node("not_found", error)
        },
        408 | 429 => Failure {
            outcome: CallOutcome::NotTheNode,
            ..Failure::node("busy", error)
        },
        500.. => match error.kind {
            ErrorKind::Unsupported => unprepared(error),
            ErrorKind::Invalid => Failure::client(error),
            _ => Failure::node("error", error),
        },
        300..=399 => Failure::node(
            "error",
            ApiError::upstream(format!(
                "node {node} answered with a redirect: give it its final address"
            )),
        ),
        _ => Failure::client(error),
    }
}
