//! The closed set of error kinds. One table each maps them to HTTP (`web`), to the clients' dialects (`dialects`) and to metrics.

use serde::{Deserialize, Serialize};

/// What went wrong, in terms that a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request itself is wrong; sending it again will not help.
    Invalid,
    /// The body or a field is larger than the limit.
    TooLarge,
    /// The body is of a kind that the path does not take.
    UnsupportedMedia,
    /// The request is well-formed, but contradicts an earlier one that it names.
    Unprocessable,
    /// No or wrong credentials.
    Unauthenticated,
    /// Known caller, not allowed.
    Forbidden,
    /// The named thing does not exist (or its existence is secret).
    NotFound,
    /// The method is not defined for this path.
    MethodNotAllowed,
    /// The change contradicts the present state.
    Conflict,
    /// The thing is not as the client believes it to be: somebody changed it meanwhile.
    PreconditionFailed,
    /// A limit was reached; later it may work.
    TooMany,
    /// Nothing can serve this now; later it may work.
    Unavailable,
    /// It took too long.
    Timeout,
    /// A node answered wrongly.
    Upstream,
    /// The node or this build cannot do what was asked.
    Unsupported,
    /// The client went away.
    Cancelled,
    /// Our own mistake.
    Bug,
}

impl ErrorKind {
    /// Names the kind in logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::UnsupportedMedia => "unsupported_media",
            Self::Unprocessable => "unprocessable",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::PreconditionFailed => "precondition_failed",
            Self::TooMany => "too_many",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Upstream => "upstream",
            Self::Unsupported => "unsupported",
            Self::Cancelled => "cancelled",
            Self::Bug => "bug",
        }
    }

    /// Returns the HTTP status for this kind.
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid | Self::Unsupported => 400,
            Self::TooLarge => 413,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::PreconditionFailed => 412,
            Self::UnsupportedMedia => 415,
            Self::Unprocessable => 422,
            Self::TooMany => 429,
            Self::Cancelled => 499,
            Self::Bug => 500,
            Self::Upstream => 502,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }
}

/// What every error that may reach a client can say about itself.
pub trait Classify {
    /// Returns the kind, which decides the status code.
    fn kind(&self) -> ErrorKind;
    /// Returns the text a client may read: no secrets, no internals, and what to do next.
    fn public_message(&self) -> String;
}
