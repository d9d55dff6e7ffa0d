//! What can be wrong with a configuration. Each message is one line.

use std::path::PathBuf;

use super::origin::Place;

/// Why a configuration was refused. Nothing has been touched when this is returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {reason}; fix that or name another file with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{}:{line}:{column}: not valid TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser expected there.
        reason: String,
    },
    /// A key that no section has.
    #[error("{place}: unknown key; {hint}")]
    UnknownKey {
        /// Where it stands.
        place: Place,
        /// The nearest known key, or all of them.
        hint: String,
    },
    /// A value that cannot be used.
    #[error("{place}: {reason}")]
    BadValue {
        /// Where it stands.
        place: Place,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// Neither `--data` nor a home directory.
    #[error("no data directory: give one with --data DIR (HOME and XDG_DATA_HOME are not set)")]
    NoHome,
}
