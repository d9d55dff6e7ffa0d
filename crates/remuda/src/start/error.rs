//! Why Remuda did not start. Each message is one line that says what to do; nothing has been damaged.

use std::net::SocketAddr;
use std::path::PathBuf;

use primitives::Classify;

use crate::config::ConfigError;

/// Why Remuda did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another program listens there.
    #[error(
        "{address} is taken by another program: stop that one or choose another address with --listen (`remuda status` tells whether it is Remuda)"
    )]
    PortTaken {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        reason: String,
    },
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}: {reason}; fix that or choose another with --data", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// Another Remuda uses the data directory.
    #[error("the data directory {} is in use by another Remuda{}: stop that one or choose another directory with --data", path.display(), process(*pid))]
    DataDirLocked {
        /// The directory.
        path: PathBuf,
        /// The process that holds the lock, as far as it is known.
        pid: Option<u32>,
    },
    /// The database cannot be used.
    #[error("cannot use the database {database}: {reason}")]
    Database {
        /// The database, without credentials.
        database: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// TLS cannot be spoken to clients.
    #[error("cannot speak TLS: {reason}")]
    Tls {
        /// What is wrong and what to do.
        reason: String,
    },
    /// A part of the program could not start.
    #[error("cannot start the {part}: {reason}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl StartError {
    /// Names a part that failed with an error that people may read.
    pub(super) fn part(part: &'static str, error: &(impl Classify + std::error::Error)) -> Self {
        Self::Part {
            part,
            reason: one_line(&error.public_message()),
        }
    }

    /// Names a part that failed with an error that has no public text of its own.
    pub(super) fn broken_part(part: &'static str, error: &dyn std::error::Error) -> Self {
        Self::Part {
            part,
            reason: one_line(&causes(error)),
        }
    }
}

/// Joins an error with everything that caused it.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Joins the lines of a message.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn process(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (process {pid})"))
}
