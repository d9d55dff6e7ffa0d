//! Why a node could not be added, changed or removed.

use primitives::{Classify, ErrorKind};
use store::{SealError, StoreError};
use web::ChangedMeanwhile;

use crate::spec::InvalidNode;

/// Why an operation on a node was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The description breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidNode),
    /// No node has this name or id.
    #[error("there is no node {0:?}")]
    Unknown(String),
    /// Another node has the name.
    #[error("a node named {0:?} exists already")]
    NameTaken(String),
    /// Another node has the address.
    #[error("{url} is the node {name:?} already")]
    UrlTaken {
        /// The address.
        url: String,
        /// The node that has it.
        name: String,
    },
    /// The node stands in the configuration file.
    #[error("node {0:?} stands in the configuration file")]
    Configured(String),
    /// The node is the engine inside this process.
    #[error("the embedded engine cannot be changed as a node")]
    Embedded,
    /// Something answers at the address, but it is no usable model server.
    #[error("{url}: {reason}")]
    NotAModelServer {
        /// The address.
        url: String,
        /// What was found, and what to do.
        reason: String,
    },
    /// The configuration file describes a node wrongly.
    #[error("[[nodes]] {name:?}: {reason}")]
    Configuration {
        /// The node's name as it stands there.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The node is not as the caller believes.
    #[error(transparent)]
    Changed(#[from] ChangedMeanwhile),
    /// The fleet is as large as it can be.
    #[error("there are {0} nodes already")]
    TooManyNodes(usize),
    /// Nobody listens for agents.
    #[error("no agent can join: this Remuda does not listen for agents")]
    NoAgents,
    /// Too many invitations stand.
    #[error("{0} invitations stand already")]
    TooManyInvitations(u64),
    /// An invitation that lets nobody in.
    #[error("the invitation cannot be used: {0}")]
    Invitation(&'static str),
    /// The key that a machine wants a certificate for is none.
    #[error("the public key is not an uncompressed point of P-256")]
    NodeKey,
    /// The node is reached through its agent.
    #[error("node {0:?} is reached through its agent")]
    ThroughAgent(String),
    /// Certificates could not be made.
    #[error("certificates for agents: {0}")]
    Certificates(String),
    /// The listener for agents failed.
    #[error("the listener for agents: {0}")]
    AgentListener(String),
    /// The credential could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for NodeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(error) => error.kind(),
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::NameTaken(_)
            | Self::UrlTaken { .. }
            | Self::Configured(_)
            | Self::Embedded
            | Self::NoAgents
            | Self::ThroughAgent(_)
            | Self::TooManyNodes(_) => ErrorKind::Conflict,
            Self::TooManyInvitations(_) => ErrorKind::TooMany,
            Self::Invitation(_) => ErrorKind::Forbidden,
            Self::Certificates(_) | Self::AgentListener(_) => ErrorKind::Bug,
            Self::NodeKey | Self::NotAModelServer { .. } | Self::Configuration { .. } => {
                ErrorKind::Invalid
            }
            Self::Changed(error) => error.kind(),
            Self::Seal(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Invalid(error) => error.public_message(),
            Self::Unknown(_) => format!("{self}: `remuda node list` shows the nodes there are"),
            Self::NameTaken(_) => format!("{self}: choose another name, or remove that node first"),
            Self::UrlTaken { .. } => format!("{self}: change that node instead of adding it again"),
            Self::Configured(_) => format!("{self}: change it there and start Remuda again"),
            Self::Embedded => format!("{self}: start Remuda without models to run without it"),
            Self::NotAModelServer { .. } | Self::Configuration { .. } => self.to_string(),
            Self::NoAgents => format!(
                "{self}: set listen in the section [agents] of its configuration, as \"0.0.0.0:11441\", and start it again"
            ),
            Self::TooManyInvitations(_) => {
                format!("{self}: they end by themselves within 15 minutes")
            }
            Self::Invitation(_) => {
                format!("{self}; ask for a new one with `remuda node invite NAME`")
            }
            Self::NodeKey => format!("{self}: use `remuda agent` of this version"),
            Self::ThroughAgent(_) => format!(
                "{self}: to reach it by an address instead, remove it and add it with `remuda node add`"
            ),
            Self::Certificates(_) | Self::AgentListener(_) => {
                "the certificates for agents do not work: look at the log of the control plane"
                    .to_owned()
            }
            Self::TooManyNodes(_) => format!("{self}: remove some before adding more"),
            Self::Changed(error) => error.public_message(),
            Self::Seal(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}
