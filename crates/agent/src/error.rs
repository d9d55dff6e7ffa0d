//! Why an agent cannot work, and what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tonic::{Code, Status};

/// Why an agent could not join or start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The address of the control plane is none.
    #[error(
        "{0:?} is no address of a control plane: write it as https://HOST:11441, as `remuda node invite` prints it"
    )]
    ControlPlane(String),
    /// The address of the model server cannot be used.
    #[error(
        "{0} cannot be the model server: give its address on this machine as http://127.0.0.1:11434, without a path"
    )]
    Server(String),
    /// This machine belongs to no control plane.
    #[error(
        "this machine has not joined: ask for an invitation with `remuda node invite NAME` and start once with --join and --token; with --announce it shows on the local network until then"
    )]
    NotJoined,
    /// This machine cannot say that it is there.
    #[error(
        "this machine cannot be announced on the network: {0}; join it without: `remuda node invite NAME`"
    )]
    Announce(String),
    /// This machine belongs to a control plane already.
    #[error("this machine is the node {name:?} already: start without --join, or delete {} to join anew", path.display())]
    Joined {
        /// The node.
        name: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// The control plane cannot be reached.
    #[error(
        "{address} cannot be reached: {reason}; is [agents] listen set there, and the port open?"
    )]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What happened.
        reason: String,
    },
    /// Something else than the inviting control plane answers.
    #[error("{address} is not the control plane that the invitation speaks of: {reason}")]
    NotTheInviter {
        /// Where it should be.
        address: String,
        /// What happened.
        reason: String,
    },
    /// A certificate does not count by this machine's clock.
    #[error(
        "the certificate of {address} does not count by this machine's clock: {reason}; set the clock of whichever machine is wrong"
    )]
    Clock {
        /// Where the control plane is.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The control plane said no.
    #[error("{0}")]
    Refused(String),
    /// The membership cannot be read or written.
    #[error("{}: {reason}", path.display())]
    Files {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The address of the health page cannot be used.
    #[error("cannot listen on {0}: {1}; choose another address with --listen")]
    Listen(SocketAddr, io::Error),
    /// The address at which files are shared cannot be used.
    #[error("cannot share files on {0}: {1}; choose another address with --share")]
    ShareListen(SocketAddr, io::Error),
    /// Files cannot be shared the way that was asked for.
    #[error("{0}")]
    Share(String),
    /// Keys or certificates do not work.
    #[error("certificates: {0}")]
    Certificate(String),
}

impl AgentError {
    /// Makes an error of a file in the data directory that cannot be used.
    pub(crate) fn files(path: PathBuf, error: &io::Error) -> Self {
        Self::Files {
            path,
            reason: format!(
                "{error}: choose another directory with --data, or give this user rights to it"
            ),
        }
    }

    /// Makes an error of what a control plane answered.
    pub(crate) fn answered(address: &str, status: &Status) -> Self {
        match status.code() {
            Code::Unknown | Code::Cancelled | Code::Unavailable => Self::Unreachable {
                address: address.to_owned(),
                reason: agent_proto::deepest(status),
            },
            _ => Self::Refused(status.message().to_owned()),
        }
    }
}
