//! Backups: the whole database as one encrypted file, the same from both engines and restored into either.
//!
//! A backup is read in one transaction, so that it shows one moment while others go on writing. It is sealed chunk by chunk with the
//! key that seals stored secrets; a chunk that is changed, moved, left out or cut off is noticed.

mod archive;
mod catalog;
mod dump;
mod restore;
mod triggers;
mod value;

use std::io;

use primitives::{Classify, ErrorKind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{MigrateError, SealError, StoreError};

pub use dump::create;
pub use restore::{restore, verify};

/// What stands readable at the start of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the file format.
    pub format: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// The engine it was made from: `sqlite` or `postgres`.
    pub engine: String,
    /// The version of the schema.
    pub schema: i64,
    /// Which key it is sealed with.
    pub key_id: String,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// What stands at its start.
    pub manifest: Manifest,
    /// The rows of each table, in the order in which they stand in it.
    pub tables: Vec<(String, u64)>,
}

impl Summary {
    /// Returns the rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|(_, rows)| rows).sum()
    }
}

/// Why a backup was not made, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file could not be read or written.
    #[error("the backup file: {0}")]
    File(#[from] io::Error),
    /// The file is no backup.
    #[error("the file is no backup of Remuda")]
    NoBackup,
    /// A newer build has made the file.
    #[error("the backup has format {found}, this build knows format {known}")]
    Format {
        /// The format of the file.
        found: u32,
        /// The format of this build.
        known: u32,
    },
    /// A newer build has made the backup.
    #[error("the backup has schema {backup}, this build knows schemas up to {build}")]
    NewerSchema {
        /// The schema of the backup.
        backup: i64,
        /// The newest schema of this build.
        build: i64,
    },
    /// The file ends too early.
    #[error("the backup is cut off")]
    CutOff,
    /// What the file says of itself is not so.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// There is something in the database already.
    #[error("the database is not empty: table {0} has rows")]
    NotEmpty(String),
    /// The database has a newer schema than the backup.
    #[error("the database has schema {database}, the backup has the older schema {backup}")]
    OlderSchema {
        /// The schema of the database.
        database: i64,
        /// The schema of the backup.
        backup: i64,
    },
    /// Sealing or opening failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The schema could not be brought to that of the backup.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for BackupError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File(_) => ErrorKind::Unavailable,
            Self::NoBackup | Self::Format { .. } | Self::CutOff | Self::Damaged(_) => {
                ErrorKind::Invalid
            }
            Self::NewerSchema { .. } | Self::NotEmpty(_) | Self::OlderSchema { .. } => {
                ErrorKind::Conflict
            }
            Self::Seal(error) => error.kind(),
            Self::Migrate(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::File(_) => format!("{self}: check the path, its permissions and the room on its disk"),
            Self::NoBackup => format!("{self}: give one that `remuda backup create` made"),
            Self::Format { .. } | Self::NewerSchema { .. } => {
                format!("{self}: use the build that made it, or a newer one")
            }
            Self::CutOff | Self::Damaged(_) | Self::Seal(SealError::Damaged) => {
                "the backup is damaged or cut off: use another one".to_owned()
            }
            Self::NotEmpty(_) => {
                format!("{self}: restore into a new data directory or an empty database")
            }
            Self::OlderSchema { .. } => {
                format!("{self}: restore into a database that nothing was started on yet")
            }
            Self::Seal(SealError::OtherKey) => {
                "the backup was sealed with another key: give that key as [store] encryption_key, or its file as sealing.key in the data directory"
                    .to_owned()
            }
            Self::Seal(error) => error.public_message(),
            Self::Migrate(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}
