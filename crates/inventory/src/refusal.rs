//! Why a call was not carried out.

use std::sync::Arc;
use std::time::Duration;

use ::store::StoreError;
use primitives::{Classify, ErrorKind};

use crate::model::Port;

/// A rule that a call would break. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another widget has the serial number.
    #[error("there is already a widget with serial number {0}")]
    Taken(Arc<str>),
    /// Both sides are the same widget.
    #[error("a widget cannot be associated with itself")]
    WithItself,
    /// There is no such widget.
    #[error("there is no widget with serial number {0}")]
    Unknown(Arc<str>),
    /// No slot with the port is free.
    #[error("widget {serial} has no free slot of port {port}")]
    NoFreeSlot {
        /// The widget.
        serial: Arc<str>,
        /// The port.
        port: Port,
    },
    /// The two are joined by this port already.
    #[error("the two widgets are associated on port {port} already")]
    Associated {
        /// The first one's number.
        first: i64,
        /// The other one's number.
        second: i64,
        /// The port.
        port: Port,
    },
    /// The two are not joined by this port.
    #[error("widgets {first} and {second} are not associated on port {port}")]
    NotAssociated {
        /// The first one.
        first: Arc<str>,
        /// The other one.
        second: Arc<str>,
        /// The port.
        port: Port,
    },
}

impl Refusal {
    /// Names the refusal for metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Taken(_) => "serial_taken",
            Self::WithItself => "with_itself",
            Self::Unknown(_) => "unknown_widget",
            Self::NoFreeSlot { .. } => "no_free_slot",
            Self::Associated { .. } => "associated",
            Self::NotAssociated { .. } => "not_associated",
        }
    }
}

/// Why a call has no success to tell of.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// It would break a rule.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too many calls wait. Nothing was changed.
    #[error("too many calls wait")]
    Overloaded,
    /// The program is stopping. Nothing was changed.
    #[error("the server is stopping")]
    Stopping,
    /// The database failed before the change was to last. Nothing was changed.
    #[error("the database failed: {message}")]
    Failed {
        /// What kind of trouble it was.
        kind: ErrorKind,
        /// What the caller may read.
        message: String,
    },
    /// The database failed while the change was made to last: it may have been, or not.
    #[error("it is not known whether the change lasts")]
    Unsure,
}

impl CallError {
    /// Tells what the database's trouble means for the calls that met it.
    pub(crate) fn failed(error: &StoreError) -> Self {
        Self::Failed {
            kind: error.kind(),
            message: error.public_message(),
        }
    }

    /// Returns how long to wait before it is tried again, where that may help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded | Self::Stopping | Self::Unsure => Some(Duration::from_secs(1)),
            Self::Failed { kind, .. } if *kind == ErrorKind::Unavailable => {
                Some(Duration::from_secs(3))
            }
            Self::Failed { .. } | Self::Refused(_) => None,
        }
    }

    /// Names what happened for metrics.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.as_str(),
            Self::Overloaded => "overloaded",
            Self::Stopping => "stopping",
            Self::Failed { .. } => "failed",
            Self::Unsure => "unsure",
        }
    }
}

impl Classify for CallError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(Refusal::Unknown(_) | Refusal::NotAssociated { .. }) => {
                ErrorKind::NotFound
            }
            Self::Refused(
                Refusal::Taken(_) | Refusal::NoFreeSlot { .. } | Refusal::Associated { .. },
            ) => ErrorKind::Conflict,
            Self::Refused(Refusal::WithItself) => ErrorKind::Invalid,
            Self::Overloaded | Self::Stopping | Self::Unsure => ErrorKind::Unavailable,
            Self::Failed { kind, .. } => *kind,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.to_string(),
            Self::Overloaded => "too many calls wait: try again in a moment".to_owned(),
            Self::Stopping => "the server is stopping: try again in a moment".to_owned(),
            Self::Failed { message, .. } => message.clone(),
            Self::Unsure => {
                "the database was lost while the change was made to last: it may have been made or not; asked for again, it is not made twice"
                    .to_owned()
            }
        }
    }
}
