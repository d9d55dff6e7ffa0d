//! SQLite databases in a directory of their own.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A path for a SQLite database that does not exist yet. Its directory vanishes when this is dropped.
pub struct SqliteDatabase {
    directory: tempfile::TempDir,
}

impl SqliteDatabase {
    /// Makes the directory.
    ///
    /// # Errors
    /// Fails when the system's temporary directory cannot be written.
    pub fn fresh() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("no temporary directory")?;
        Ok(Self { directory })
    }

    /// Returns the database's path.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("remuda.db")
    }

    /// Returns the directory, for other files of the same test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the URL for `[database] url`.
    pub fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }
}
