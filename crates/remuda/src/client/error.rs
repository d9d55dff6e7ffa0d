//! What can go wrong between a command and the server. Each message is one line that says what to do.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use web::outbound::OutboundError;

/// Why a call did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody answers.
    #[error(
        "cannot reach Remuda at {server} ({reason}): start it with `remuda up`, or name another one with --server"
    )]
    Unreachable {
        /// The address that was tried.
        server: String,
        /// What the network said.
        reason: String,
    },
    /// Something answers, but nothing proves that it is the server that was meant.
    #[error(
        "{server} answers, but {reason}: name the certificate (PEM) of the server's authority with --ca-file, and the server as its certificate does with --server (docs/operations.md, TLS)"
    )]
    Certificate {
        /// The address that was tried.
        server: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The server refused.
    #[error("{message}{}", advice(*status, message))]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The server's own words.
        message: String,
        /// The server's name for what to do next, where it has one.
        reason: Option<String>,
        /// How long to wait before the same call is made again, where the server asks for that.
        retry_after: Option<Duration>,
    },
    /// A stream brought an error after it had begun.
    #[error("{0}")]
    Stream(String),
    /// The answer ended before it was complete.
    #[error("the answer of {server} ended before it was complete: try again")]
    Cut {
        /// The server.
        server: String,
    },
    /// The answer is not what Remuda's API says.
    #[error(
        "{server} gave an answer that this version does not understand ({reason}): is it Remuda?"
    )]
    Unexpected {
        /// The server.
        server: String,
        /// What was wrong.
        reason: String,
    },
    /// The stored sign-in cannot be read or written.
    #[error("cannot use {path}: {reason}")]
    Credentials {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
}

impl ClientError {
    /// Tells whether the same call may work in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Cut { .. } => true,
            Self::Refused { status, .. } => status.is_server_error(),
            _ => false,
        }
    }

    /// Names what the network said about a call to `server`.
    pub(super) fn from_outbound(server: &str, error: &OutboundError) -> Self {
        let server = server.to_owned();
        match error {
            OutboundError::Broken { .. } => Self::Cut { server },
            OutboundError::Json { source, .. } => Self::Unexpected {
                server,
                reason: source.to_string(),
            },
            OutboundError::TooLarge { .. } => Self::Unexpected {
                server,
                reason: error.to_string(),
            },
            OutboundError::Connect {
                reason,
                by_certificate: true,
                ..
            } => Self::Certificate {
                server,
                reason: reason.clone(),
            },
            OutboundError::Connect { reason, .. } => Self::Unreachable {
                server,
                reason: reason.clone(),
            },
            OutboundError::Refused { refusal, .. } => Self::Unreachable {
                server,
                reason: refusal.to_string(),
            },
            _ => Self::Unreachable {
                server,
                reason: error.to_string(),
            },
        }
    }

    /// Makes the error for an answer with an error status.
    pub(super) fn from_answer(status: StatusCode, body: &[u8]) -> Self {
        let message = match message_of(body) {
            // The server speaks to those who write HTTP; who types commands signs in.
            Some(message) if message.starts_with("an API key is required") => {
                "this needs a sign-in: `remuda login`, or set REMUDA_API_KEY".to_owned()
            }
            Some(message) => message,
            None => format!(
                "the server answered {}",
                status.canonical_reason().unwrap_or(status.as_str())
            ),
        };
        let reason = serde_json::from_slice::<Value>(body)
            .ok()
            .and_then(|value| value.get("reason")?.as_str().map(str::to_owned));
        Self::Refused {
            status,
            message,
            reason,
            retry_after: None,
        }
    }

    /// Takes note of what the headers of an answer say about another try.
    pub(super) fn with_retry_after(mut self, headers: &HeaderMap) -> Self {
        if let Self::Refused { retry_after, .. } = &mut self {
            let seconds = headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok());
            *retry_after = seconds
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs);
        }
        self
    }

    /// Returns how long to wait before the same call is made again, where the server is not available now and asks for that.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused {
                status: StatusCode::SERVICE_UNAVAILABLE,
                retry_after,
                ..
            } => *retry_after,
            _ => None,
        }
    }

    /// Returns the server's name for what to do next, where it has one.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } => reason.as_deref(),
            _ => None,
        }
    }

    /// Returns true when signing in, or as somebody else, would help.
    pub(crate) fn is_about_rights(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN,
                ..
            }
        )
    }
}

/// Finds the text of an error in the shapes of the control plane (problem+json), Ollama, OpenAI and the inventory's functions.
pub(super) fn message_of(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = value
        .get("detail")
        .or_else(|| value.pointer("/error/message"))
        .or_else(|| value.get("error"))
        .or_else(|| value.get("title"))
        .or_else(|| value.get("message"))?
        .as_str()?;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then_some(line)
}

/// Says what to do where the server did not.
fn advice(status: StatusCode, message: &str) -> &'static str {
    match status {
        _ if message.contains("remuda login") || message.contains("password") => "",
        StatusCode::UNAUTHORIZED => " (sign in with `remuda login`, or set REMUDA_API_KEY)",
        StatusCode::FORBIDDEN => " (`remuda whoami` shows who you are)",
        StatusCode::NOT_FOUND
            if message.starts_with("model ") && message.ends_with("not found") =>
        {
            " (`remuda models` lists those that there are)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_shape_gives_its_text() {
        for body in [
            r#"{"type":"about:blank","title":"Not found","status":404,"detail":"no\nsuch node"}"#,
            r#"{"error":"no such node"}"#,
            r#"{"error":{"message":"no such node","type":"x"}}"#,
        ] {
            assert_eq!(message_of(body.as_bytes()).as_deref(), Some("no such node"));
        }
        assert_eq!(message_of(b"<html>"), None);
        assert_eq!(
            ClientError::from_answer(StatusCode::BAD_GATEWAY, b"<html>").to_string(),
            "the server answered Bad Gateway"
        );
    }
}
