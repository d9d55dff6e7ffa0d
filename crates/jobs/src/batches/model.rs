//! What a batch is, and why it could not be had.

use std::fmt;
use std::net::IpAddr;

use ::store::{SealError, StoreError};
use identity::PrincipalKind;
use primitives::{Classify, ErrorKind, JobId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::files::FileError;
use crate::model::{JobError, Owner};

/// The id of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchId(pub(crate) String);

impl BatchId {
    /// Makes an id that sorts by the time.
    pub(crate) fn generate(now: Timestamp) -> Self {
        Self(format!("batch_{}", JobId::generate(now).as_uuid().simple()))
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchStatus {
    /// Its lines are read.
    Validating,
    /// Its lines cannot be used.
    Failed,
    /// Its lines are answered.
    InProgress,
    /// The answers are put into files.
    Finalizing,
    /// It is done.
    Completed,
    /// Its time was over before it was done; what was answered is there.
    Expired,
    /// It is being called off.
    Cancelling,
    /// It was called off; what was answered is there.
    Cancelled,
}

impl BatchStatus {
    const ALL: [Self; 8] = [
        Self::Validating,
        Self::Failed,
        Self::InProgress,
        Self::Finalizing,
        Self::Completed,
        Self::Expired,
        Self::Cancelling,
        Self::Cancelled,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    pub(crate) const fn has_ended(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Completed | Self::Expired | Self::Cancelled
        )
    }
}

/// What is wrong with a line of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
    pub(crate) line: Option<i64>,
}

/// A batch without its lines.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) id: BatchId,
    pub(crate) owner: Owner,
    pub(crate) caller: PrincipalKind,
    pub(crate) client_address: Option<IpAddr>,
    pub(crate) endpoint: String,
    pub(crate) input_file: String,
    pub(crate) output_file: Option<String>,
    pub(crate) error_file: Option<String>,
    pub(crate) status: BatchStatus,
    pub(crate) faults: Vec<Fault>,
    /// What the caller notes of it: a JSON object, as text.
    pub(crate) metadata: String,
    pub(crate) total: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) in_progress_at: Option<Timestamp>,
    pub(crate) finalizing_at: Option<Timestamp>,
    pub(crate) cancelling_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) expires_at: Timestamp,
}

/// Why a batch was not accepted, shown or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("there is no batch {0}")]
    Unknown(String),
    #[error("{message}")]
    Invalid {
        param: &'static str,
        message: String,
    },
    #[error("batch {0} has ended")]
    HasEnded(BatchId),
    #[error("your organisation has {0} batches that have not ended, which is the limit")]
    TooMany(u64),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for BatchError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::HasEnded(_) => ErrorKind::Conflict,
            Self::TooMany(_) => ErrorKind::TooMany,
            Self::File(error) => error.kind(),
            Self::Job(error) => error.kind(),
            Self::Seal(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Unknown(_) => format!("{self}: it is not yours, or its time was over"),
            Self::Invalid { .. } => self.to_string(),
            Self::HasEnded(_) => format!("{self}: there is nothing left to cancel"),
            Self::TooMany(_) => format!("{self}: wait until one has ended, or cancel one"),
            Self::File(error) => error.public_message(),
            Self::Job(error) => error.public_message(),
            Self::Seal(_) => {
                "what the batch holds cannot be read any more: it was sealed with a key that is gone"
                    .to_owned()
            }
            Self::Store(error) => error.public_message(),
        }
    }
}
