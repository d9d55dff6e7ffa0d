//! How a command fails: one line on standard error and an exit code.

use std::io;
use std::process::ExitCode;

use crate::client::ClientError;
use crate::config::ConfigError;
use crate::output::remark;
use crate::start::StartError;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The arguments make no sense together.
    #[error("{0}")]
    Usage(String),
    /// A call to the server failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The command ran and its answer is no.
    #[error("{0}")]
    Refused(String),
    /// The command has already said what is wrong.
    #[error("failed")]
    Told,
    /// The person pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Standard output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The event loop could not be made.
    #[error("cannot start the event loop: {0}: check the limits on open files and threads")]
    Runtime(#[source] io::Error),
}

impl Failure {
    /// Tells the person and returns the exit code.
    pub(super) fn report(&self) -> ExitCode {
        match self {
            // The reader has what it wanted, as in `remuda models | head -1`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Told => ExitCode::FAILURE,
            Self::Interrupted => ExitCode::from(130),
            Self::Config(_) | Self::Start(_) | Self::Usage(_) => {
                remark(&format!("error: {self}"));
                ExitCode::from(2)
            }
            Self::Client(_) | Self::Refused(_) | Self::Output(_) | Self::Runtime(_) => {
                remark(&format!("error: {self}"));
                ExitCode::FAILURE
            }
        }
    }
}
