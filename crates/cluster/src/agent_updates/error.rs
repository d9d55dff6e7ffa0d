//! Why an operation on updates of agents was refused or failed.

use ::store::StoreError;
use agent_proto::{InvalidVersion, ReleaseError};
use primitives::{Classify, ErrorKind, InvalidCursor};
use scheduling::rollout::InvalidStages;
use web::ChangedMeanwhile;

use super::store::MAX_RELEASES;

/// Why an operation on updates of agents was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum AgentUpdateError {
    /// A number breaks a rule.
    #[error("{0}")]
    Invalid(&'static str),
    /// The version is none.
    #[error(transparent)]
    Version(#[from] InvalidVersion),
    /// The stages are none.
    #[error(transparent)]
    Stages(#[from] InvalidStages),
    /// What describes the release is not signed text.
    #[error(transparent)]
    Manifest(#[from] ReleaseError),
    /// Another release has this version and target.
    #[error("there is another release {0} already")]
    Taken(String),
    /// There are too many releases.
    #[error("{MAX_RELEASES} releases are kept already")]
    TooMany,
    /// There is no such release.
    #[error("there is no release {0:?}")]
    UnknownRelease(String),
    /// The program is not what was signed.
    #[error("the program is not the one that was signed: {0}")]
    Program(String),
    /// It is complete, or somebody else uploads it.
    #[error("the release {0} is not waiting for this program")]
    NotExpected(String),
    /// The caller may not any more.
    #[error("you may not upload releases any more")]
    ShutOut,
    /// A roll-out gives it out.
    #[error("the release {0} is being rolled out")]
    InUse(String),
    /// No release has the version.
    #[error("no complete release has the version {0}")]
    UnknownVersion(String),
    /// A roll-out is under way.
    #[error("version {0} is being rolled out already")]
    UnderWay(String),
    /// There is no such roll-out.
    #[error("there is no roll-out {0:?} to agents")]
    UnknownRollout(String),
    /// What was asked does not fit its state.
    #[error("the roll-out of {version} is {state}")]
    State {
        /// The version.
        version: String,
        /// Its state, in words.
        state: &'static str,
    },
    /// Somebody else has changed it.
    #[error(transparent)]
    Changed(#[from] ChangedMeanwhile),
    /// The cursor was not made by this server.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for AgentUpdateError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_)
            | Self::Version(_)
            | Self::Stages(_)
            | Self::Manifest(_)
            | Self::Program(_)
            | Self::Cursor(_) => ErrorKind::Invalid,
            Self::ShutOut => ErrorKind::Forbidden,
            Self::UnknownRelease(_) | Self::UnknownVersion(_) | Self::UnknownRollout(_) => {
                ErrorKind::NotFound
            }
            Self::Taken(_)
            | Self::TooMany
            | Self::NotExpected(_)
            | Self::InUse(_)
            | Self::UnderWay(_)
            | Self::State { .. } => ErrorKind::Conflict,
            Self::Changed(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Invalid(_)
            | Self::Version(_)
            | Self::Stages(_)
            | Self::Manifest(_)
            | Self::Cursor(_) => self.to_string(),
            Self::ShutOut => format!("{self}: ask an administrator"),
            Self::Taken(id) => format!(
                "{self}: remove it with `remuda agent-release remove {id}`, or give yours another version"
            ),
            Self::TooMany => format!("{self}: remove some (`remuda agent-release list`)"),
            Self::UnknownRelease(_) => {
                format!("{self}: `remuda agent-release list` shows those there are")
            }
            Self::Program(_) => format!("{self}: upload the file that the .sig file was made for"),
            Self::NotExpected(_) => format!(
                "{self}: it is complete, or somebody else is uploading it; see `remuda agent-release list`"
            ),
            Self::InUse(_) => format!(
                "{self}: wait until that is done, or abort it (`remuda agent-rollout list`)"
            ),
            Self::UnknownVersion(_) => {
                format!("{self}: sign and upload one with `remuda agent-release`")
            }
            Self::UnderWay(_) => format!(
                "{self}: wait until it is done, or end it with `remuda agent-rollout abort`"
            ),
            Self::UnknownRollout(_) => {
                format!("{self}: `remuda agent-rollout list` shows those there are")
            }
            Self::State { .. } => {
                format!("{self}: `remuda agent-rollout show` tells how it stands")
            }
            Self::Changed(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}
