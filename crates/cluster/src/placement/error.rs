//! Why an operation on placement was refused or failed.

use ::store::StoreError;
use primitives::{Classify, ErrorKind, InvalidCursor};

use super::policy::InvalidPolicy;
use super::store::{MAX_OPEN, MAX_POLICIES};
use crate::error::NodeError;

/// Why an operation on placement was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// The policy breaks a rule.
    #[error("{0}")]
    Policy(String),
    /// A pinned node is not there.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Nothing is wanted of the model.
    #[error("nothing is wanted of {0:?}")]
    NoPolicy(String),
    /// There are too many policies.
    #[error("there are {MAX_POLICIES} policies already")]
    TooManyPolicies,
    /// There is no such action.
    #[error("there is no action {0:?}")]
    NoAction(String),
    /// The action has ended.
    #[error("the action has ended: it is {0}")]
    Ended(&'static str),
    /// What is to be applied is not in the plan any more.
    #[error("{0:?} is not in the plan as it is now")]
    NotPlanned(String),
    /// Too many actions wait.
    #[error("{MAX_OPEN} actions wait already")]
    TooManyActions,
    /// The cursor was not made by this server.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<InvalidPolicy> for PlacementError {
    fn from(error: InvalidPolicy) -> Self {
        Self::Policy(error.to_string())
    }
}

impl Classify for PlacementError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Policy(_) | Self::Cursor(_) => ErrorKind::Invalid,
            Self::Node(error) => error.kind(),
            Self::NoPolicy(_) | Self::NoAction(_) => ErrorKind::NotFound,
            Self::TooManyPolicies | Self::Ended(_) | Self::NotPlanned(_) => ErrorKind::Conflict,
            Self::TooManyActions => ErrorKind::TooMany,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Policy(_) | Self::Ended(_) | Self::Cursor(_) => self.to_string(),
            Self::Node(error) => error.public_message(),
            Self::NoPolicy(_) => {
                format!("{self}: `remuda placement show` lists the models of which something is")
            }
            Self::TooManyPolicies => {
                format!("{self}: remove some with `remuda placement unset MODEL`")
            }
            Self::NoAction(_) => {
                format!("{self}: `remuda placement actions` lists those there are")
            }
            Self::NotPlanned(_) => format!("{self}: look at `remuda placement plan` again"),
            Self::TooManyActions => format!(
                "{self}: wait until some have ended, or call some off with `remuda placement cancel ID`"
            ),
            Self::Store(error) => error.public_message(),
        }
    }
}
