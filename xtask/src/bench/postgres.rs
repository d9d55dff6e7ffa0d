//! A PostgreSQL of a benchmark's own, on the core of the load.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::process::LOAD_CORE;
use crate::databases::Databases;
use crate::workspace;

/// A running server with one empty database. What is committed lasts.
pub(super) struct Postgres {
    databases: Databases,
    /// Where the database is.
    pub(super) url: String,
}

impl Postgres {
    /// Starts it.
    pub(super) fn start(database: &str) -> anyhow::Result<Self> {
        let databases = Databases::start_durable(&workspace::metadata()?.target_directory)?;
        let pid = databases.postgres_pid().context("PostgreSQL has ended")?;
        let moved = Command::new("taskset")
            .args(["-cp", &LOAD_CORE.to_string(), &pid.to_string()])
            .stdout(Stdio::null())
            .status()?;
        anyhow::ensure!(moved.success(), "taskset: {moved}");
        let url = databases.make(database)?;
        Ok(Self { databases, url })
    }

    /// Returns where `psql` is.
    pub(super) fn psql(&self) -> PathBuf {
        self.databases.postgres_bin.join("psql")
    }

    /// Returns the section of a configuration that has the server use it.
    pub(super) fn section(&self) -> String {
        format!("[store]\nurl = \"{}\"\n", self.url)
    }
}
