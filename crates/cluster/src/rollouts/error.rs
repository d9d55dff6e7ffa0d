//! Why an operation on roll-outs was refused or failed.

use ::store::StoreError;
use primitives::{Classify, ErrorKind, InvalidCursor};
use scheduling::rollout::InvalidStages;
use web::ChangedMeanwhile;

use super::store::MAX_OPEN;

/// Why an operation on roll-outs was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// A name or number breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// The stages are none.
    #[error(transparent)]
    Stages(#[from] InvalidStages),
    /// No node has the model.
    #[error("no node has {0}")]
    UnknownModel(String),
    /// A name stands for another model.
    #[error("{alias} is an alias of {model}")]
    Alias {
        /// The name.
        alias: String,
        /// What it stands for.
        model: String,
    },
    /// The configuration divides the callers of the name.
    #[error("the configuration divides the callers of {0} already")]
    Configured(String),
    /// There is a roll-out of the name.
    #[error("{model} is being rolled out to {to} already")]
    UnderWay {
        /// The name.
        model: String,
        /// The new version.
        to: String,
    },
    /// One of the versions is the name or the version of another roll-out.
    #[error("{version} takes part in the roll-out of {model}")]
    Chain {
        /// The version.
        version: String,
        /// The name of the other roll-out.
        model: String,
    },
    /// There are too many roll-outs.
    #[error("{MAX_OPEN} roll-outs decide who gets which version already")]
    TooMany,
    /// There is no such roll-out.
    #[error("there is no roll-out {0:?}")]
    Unknown(String),
    /// What was asked does not fit its state.
    #[error("the roll-out of {model} is {state}")]
    State {
        /// The name.
        model: String,
        /// Its state, in words.
        state: &'static str,
        /// What can be done.
        advice: &'static str,
    },
    /// The new version is on no node that takes requests.
    #[error("no node that takes requests has {0}")]
    Nowhere(String),
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

impl Classify for RolloutError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::Stages(_) | Self::Cursor(_) => ErrorKind::Invalid,
            Self::UnknownModel(_) | Self::Unknown(_) => ErrorKind::NotFound,
            Self::Alias { .. }
            | Self::Configured(_)
            | Self::UnderWay { .. }
            | Self::Chain { .. }
            | Self::TooMany
            | Self::State { .. }
            | Self::Nowhere(_) => ErrorKind::Conflict,
            Self::Changed(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Invalid(_) | Self::Stages(_) | Self::Cursor(_) => self.to_string(),
            Self::UnknownModel(_) => {
                format!("{self}: `remuda models` lists those that clients can ask for")
            }
            Self::Alias { model, .. } => format!("{self}: name {model} itself"),
            Self::Configured(model) => {
                format!("{self}: take `split` out of [models.\"{model}\"] first")
            }
            Self::UnderWay { model, .. } => format!(
                "{self}: wait until it is done, or end it with `remuda rollout abort {model}`"
            ),
            Self::Chain { model, .. } => format!(
                "{self}: roll-outs do not follow one another, so close that one first (`remuda rollout show {model}`)"
            ),
            Self::TooMany => format!("{self}: close some (`remuda rollout list`)"),
            Self::Unknown(_) => format!("{self}: `remuda rollout list` shows those there are"),
            Self::State { advice, .. } => format!("{self}: {advice}"),
            Self::Nowhere(model) => format!(
                "{self}: `remuda placement set {model} --mode auto --on-disk 1` brings it to one"
            ),
            Self::Changed(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}
