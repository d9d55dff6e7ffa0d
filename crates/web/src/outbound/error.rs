//! Why a call to another server failed.

use std::io;
use std::time::Duration;

use primitives::{Classify, ErrorKind};
use rustls::{CertificateError, OtherError};

use super::Refusal;
use super::connector::ConnectError;

/// Why a call to another server failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// The address, a header or the body could not be put on the wire.
    #[error("the request to {target} is not valid: {reason}")]
    Request {
        /// The host and port of the call, or what stood in their place.
        target: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The address may not be called.
    #[error("calling {target} is not allowed")]
    Refused {
        /// The host and port of the call.
        target: String,
        /// Why not.
        #[source]
        refusal: Refusal,
    },
    /// The name has no address, nothing listens there, or the TLS handshake failed.
    #[error("cannot connect to {target}: {reason}")]
    Connect {
        /// The host and port of the call.
        target: String,
        /// What the network said.
        reason: String,
        /// Whether something answers there by TLS, whose certificate is not accepted.
        by_certificate: bool,
    },
    /// One of the limits on waiting was reached.
    #[error("{target} did not {wait} within {limit:?}")]
    Timeout {
        /// The host and port of the call.
        target: String,
        /// What was waited for, as in "connect" or "answer".
        wait: &'static str,
        /// The limit that was reached.
        limit: Duration,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to {target} broke: {reason}")]
    Broken {
        /// The host and port of the call.
        target: String,
        /// What the connection said.
        reason: String,
    },
    /// The answer is larger than the caller's limit.
    #[error("the answer of {target} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The host and port of the call.
        target: String,
        /// The most bytes the caller reads.
        limit_bytes: usize,
    },
    /// The answer is not the JSON that was expected.
    #[error("the answer of {target} is not the expected JSON")]
    Json {
        /// The host and port of the call.
        target: String,
        /// Where the JSON differs.
        #[source]
        source: serde_json::Error,
    },
    /// The trusted certificates could not be loaded.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

impl OutboundError {
    /// Tells whether no byte of the request can have reached the server, so that repeating it is always safe.
    pub fn is_before_send(&self) -> bool {
        match self {
            Self::Request { .. } | Self::Refused { .. } | Self::Connect { .. } | Self::Tls(_) => {
                true
            }
            Self::Timeout { wait, .. } => *wait == "connect",
            Self::Broken { .. } | Self::TooLarge { .. } | Self::Json { .. } => false,
        }
    }

    pub(super) fn from_legacy(
        error: &hyper_util::client::legacy::Error,
        target: &str,
        connect_timeout: Duration,
    ) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut deepest = String::new();
        let mut by_certificate = false;
        while let Some(current) = cause {
            if let Some(fault) = certificate_fault(current) {
                (deepest, by_certificate) = (fault, true);
                break;
            }
            match current.downcast_ref::<ConnectError>() {
                Some(ConnectError::Refused(refusal)) => {
                    return Self::Refused {
                        target: target.to_owned(),
                        refusal: *refusal,
                    };
                }
                Some(ConnectError::Timeout) => {
                    return Self::Timeout {
                        target: target.to_owned(),
                        wait: "connect",
                        limit: connect_timeout,
                    };
                }
                Some(ConnectError::Io(_) | ConnectError::Unresolved) | None => {}
            }
            deepest = current.to_string();
            cause = current.source();
        }
        let target = target.to_owned();
        if error.is_connect() {
            Self::Connect {
                target,
                reason: deepest,
                by_certificate,
            }
        } else {
            Self::Broken {
                target,
                reason: deepest,
            }
        }
    }
}

/// Says what is wrong with the certificate that a server has shown, if that is what the error is about.
pub fn certificate_fault(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    // An `io::Error` hides what it holds from its sources, and may hold another one.
    let mut held = error;
    while let Some(inner) = held
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        held = inner;
    }
    let Some(rustls::Error::InvalidCertificate(refused)) = held.downcast_ref() else {
        return None;
    };
    Some(match refused {
        CertificateError::UnknownIssuer => {
            "its certificate comes from no authority that is trusted here (UnknownIssuer)"
                .to_owned()
        }
        CertificateError::Other(OtherError(other)) if is_authority(&**other) => {
            "its certificate is that of an authority (CA:TRUE), which no server may show: it needs one that the authority has signed"
                .to_owned()
        }
        other => format!("its certificate is not valid: {other}"),
    })
}

fn is_authority(refused: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    matches!(
        refused.downcast_ref::<webpki::Error>(),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}

impl Classify for OutboundError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Request { .. } | Self::Refused { .. } => ErrorKind::Invalid,
            Self::Connect { .. } => ErrorKind::Unavailable,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Broken { .. } | Self::TooLarge { .. } | Self::Json { .. } => ErrorKind::Upstream,
            Self::Tls(_) => ErrorKind::Bug,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Refused { refusal, .. } => format!("{self}: {refusal}"),
            Self::Json { source, .. } => format!("{self}: {source}"),
            Self::Tls(_) => "TLS could not be set up: see the log".to_owned(),
            _ => self.to_string(),
        }
    }
}
