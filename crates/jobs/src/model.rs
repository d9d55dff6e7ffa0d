//! What a job is, and why it could not be had.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ::store::{SealError, StoreError};
use identity::{Principal, PrincipalKind, PriorityClass};
use primitives::{
    Classify, ErrorKind, InvalidCursor, JobId, KeyId, OrgId, RequestId, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// An answer to a conversation.
    Chat,
    /// An answer to one prompt.
    Generate,
}

impl JobKind {
    /// Every kind.
    pub(crate) const ALL: [Self; 2] = [Self::Chat, Self::Generate];

    /// Names the kind as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Generate => "generate",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for its turn, or for the next attempt.
    Queued,
    /// Somebody carries it out.
    Running,
    /// It is done; there is a result.
    Completed,
    /// It will not be done; there is an error.
    Failed,
    /// Its owner called it off.
    Cancelled,
}

impl JobState {
    /// Every state, in the order in which a job goes through them.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Names the state as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Tells whether nothing more will happen to it.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// Whose job it is. Nobody else may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The organisation.
    pub org: OrgId,
    /// The person, by whatever they present; a key that belongs to nobody; or whoever presents nothing.
    pub who: PrincipalKind,
}

impl Owner {
    /// Returns the owner of what a caller asks for.
    pub fn of(principal: &Principal) -> Self {
        Self {
            org: principal.org,
            who: principal.user.map_or(principal.kind, PrincipalKind::User),
        }
    }
}

/// Names a caller as it is stored.
pub(crate) fn caller_text(kind: PrincipalKind) -> String {
    match kind {
        PrincipalKind::Anonymous => "anonymous".to_owned(),
        PrincipalKind::Key(id) => format!("key:{id}"),
        PrincipalKind::User(id) => format!("user:{id}"),
    }
}

/// Reads a stored caller.
pub(crate) fn read_caller(text: &str) -> Option<PrincipalKind> {
    match text.split_once(':') {
        None => (text == "anonymous").then_some(PrincipalKind::Anonymous),
        Some(("key", id)) => KeyId::from_str(id).ok().map(PrincipalKind::Key),
        Some(("user", id)) => UserId::from_str(id).ok().map(PrincipalKind::User),
        Some(_) => None,
    }
}

/// A job without what is sealed.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What is to be done.
    pub kind: JobKind,
    /// Whose it is.
    pub owner: Owner,
    /// As whom it is carried out.
    pub caller: PrincipalKind,
    /// Where it was asked from.
    pub client_address: Option<IpAddr>,
    /// What it is about: the model.
    pub subject: String,
    /// How soon it may be served.
    pub class: PriorityClass,
    /// How far it is.
    pub state: JobState,
    /// Why it failed, or what the last attempt came to.
    pub error: Option<String>,
    /// The kind of that error.
    pub error_kind: Option<String>,
    /// The request of the last attempt.
    pub request_id: Option<RequestId>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Before when it is not carried out.
    pub run_at: Timestamp,
    /// When it was first carried out.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Attempts so far.
    pub attempt: u32,
    /// Attempts after which it has failed.
    pub most_attempts: u32,
    /// The number of the last piece of its output.
    pub chunks: i64,
}

/// A number by which a piece of output is told from those before.
pub(crate) type ChunkNumber = i64;

/// The id of a run, which nobody else has.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RunId(pub(crate) String);

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long a client waits that was refused for want of room.
pub(crate) const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Why a job was not accepted, shown or changed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// There is no such job, or it is another's: which of both is nobody's business.
    #[error("there is no job {0}")]
    Unknown(String),
    /// The executor would not do it.
    #[error("{message}")]
    Refused {
        /// The kind of refusal.
        kind: ErrorKind,
        /// What the client reads.
        message: String,
    },
    /// Too many jobs have not ended.
    #[error("{waiting} jobs {of} have not ended, which is the limit ({setting})")]
    TooMany {
        /// How many there are.
        waiting: u64,
        /// Of whom.
        of: &'static str,
        /// The setting.
        setting: &'static str,
    },
    /// Too many follow jobs.
    #[error("{0} clients follow jobs, which is the limit")]
    TooManyFollowers(usize),
    /// It has not ended.
    #[error("job {0} has not ended")]
    NotEnded(JobId),
    /// It has ended.
    #[error("job {0} has ended")]
    HasEnded(JobId),
    /// It has not failed, or cannot be tried again.
    #[error("job {0} cannot be replayed")]
    NotDead(JobId),
    /// There is no such kind of work.
    #[error("there is no kind of work {0:?}")]
    UnknownKind(String),
    /// The parameters of a list make no sense.
    #[error("{0}")]
    Filter(String),
    /// The cursor is not ours.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// What was sealed cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl JobError {
    /// Returns how long the client should wait before it tries again.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooMany { .. } | Self::TooManyFollowers(_) => Some(TRY_AGAIN),
            _ => None,
        }
    }
}

impl Classify for JobError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) | Self::UnknownKind(_) => ErrorKind::NotFound,
            Self::Refused { kind, .. } => *kind,
            Self::TooMany { .. } | Self::TooManyFollowers(_) => ErrorKind::TooMany,
            Self::NotEnded(_) | Self::HasEnded(_) | Self::NotDead(_) => ErrorKind::Conflict,
            Self::Filter(_) | Self::Cursor(_) => ErrorKind::Invalid,
            Self::Seal(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Unknown(_) => format!(
                "{self}: it is not yours, or was deleted when [jobs] retention was over; `remuda jobs list` shows yours"
            ),
            Self::Refused { .. } | Self::Filter(_) | Self::Cursor(_) => self.to_string(),
            Self::TooMany { .. } => {
                format!(
                    "{self}: wait until some have ended, or cancel some (`remuda jobs cancel ID`)"
                )
            }
            Self::TooManyFollowers(_) => format!("{self}: ask for the job's state now and then"),
            Self::NotEnded(id) => format!("{self}: cancel it first (`remuda jobs cancel {id}`)"),
            Self::HasEnded(_) => format!("{self}: there is nothing left to cancel"),
            Self::NotDead(_) => format!(
                "{self}: only one that has failed, and is not there again, can be; `remuda jobs dead` lists them"
            ),
            Self::UnknownKind(_) => format!("{self}: `remuda jobs kinds` lists them"),
            Self::Seal(_) => {
                "what the job holds cannot be read any more: it was sealed with a key that is gone"
                    .to_owned()
            }
            Self::Store(error) => error.public_message(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_survive_being_stored() {
        let now = Timestamp::from_micros(1);
        for kind in [
            PrincipalKind::Anonymous,
            PrincipalKind::Key(KeyId::generate(now)),
            PrincipalKind::User(UserId::generate(now)),
        ] {
            assert_eq!(read_caller(&caller_text(kind)), Some(kind));
        }
        for text in ["", "key", "key:7", "person:7", "anonymous:"] {
            assert_eq!(read_caller(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for state in JobState::ALL {
            assert_eq!(JobState::from_name(state.as_str()), Some(state));
        }
        for kind in JobKind::ALL {
            assert_eq!(JobKind::from_name(kind.as_str()), Some(kind));
        }
    }
}
