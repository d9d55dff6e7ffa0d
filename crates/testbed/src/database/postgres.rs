//! PostgreSQL databases on the server that `cargo xtask test` has started.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;

/// An empty PostgreSQL database. Dropped with all its connections when this is dropped.
pub struct PostgresDatabase {
    name: String,
    admin_url: String,
    direct_url: String,
    pooled_url: Option<String>,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl PostgresDatabase {
    /// Creates a database on the server of `TEST_POSTGRES_URL`.
    ///
    /// # Errors
    /// Fails when the variable is missing (the tests then were not started by `cargo xtask test`) or the server does not
    /// obey.
    pub fn fresh() -> anyhow::Result<Self> {
        let admin_url = std::env::var("TEST_POSTGRES_URL")
            .context("TEST_POSTGRES_URL is not set; run the tests by `cargo xtask test`, which starts PostgreSQL")?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t_{}_{number}", std::process::id());
        psql(&admin_url, &format!("CREATE DATABASE {name}"))?;
        let pooled_url = std::env::var("TEST_PGBOUNCER_URL")
            .ok()
            .map(|url| with_database(&url, &name));
        Ok(Self {
            direct_url: with_database(&admin_url, &name),
            name,
            admin_url,
            pooled_url,
        })
    }

    /// Returns the URL of the database on the server itself.
    pub fn url(&self) -> &str {
        &self.direct_url
    }

    /// Returns the URL of the database through PgBouncer in transaction mode.
    ///
    /// # Errors
    /// Fails when `TEST_PGBOUNCER_URL` is not set.
    pub fn pooled_url(&self) -> anyhow::Result<&str> {
        self.pooled_url
            .as_deref()
            .context("TEST_PGBOUNCER_URL is not set; run the tests by `cargo xtask test`")
    }

    /// Runs SQL through PgBouncer, otherwise as [`Self::sql`].
    ///
    /// # Errors
    /// As [`Self::pooled_url`] and [`Self::sql`].
    pub fn pooled_sql(&self, sql: &str) -> anyhow::Result<String> {
        psql(self.pooled_url()?, sql)
    }

    /// Runs SQL by `psql` and returns its rows, columns separated by `|`.
    ///
    /// # Errors
    /// Gives the server's message.
    pub fn sql(&self, sql: &str) -> anyhow::Result<String> {
        psql(&self.direct_url, sql)
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        // The whole server goes away after the tests; a database left behind does no harm.
        drop(psql(
            &self.admin_url,
            &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name),
        ));
    }
}

/// Replaces the path of a URL.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url
        .split_once('?')
        .map_or((url, None), |(base, query)| (base, Some(query)));
    let authority = base.find("://").map_or(0, |at| at + 3);
    let end = base[authority..]
        .find('/')
        .map_or(base.len(), |at| authority + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &base[..end])
}

fn psql(url: &str, sql: &str) -> anyhow::Result<String> {
    let output = Command::new(psql_path())
        .args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set",
            "ON_ERROR_STOP=1",
            "--command",
            sql,
            url,
        ])
        .stdin(Stdio::null())
        .output()
        .context("psql cannot be run; `cargo xtask test` installs it")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "psql: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}

/// Finds `psql` beside the newest server, or on the path.
fn psql_path() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|entry| entry.path().join("bin/psql"))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from("psql"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_of_a_url_is_replaced() {
        assert_eq!(
            with_database("postgres://u@h:5/postgres?a=b", "t"),
            "postgres://u@h:5/t?a=b"
        );
        assert_eq!(with_database("postgres://u@h:5", "t"), "postgres://u@h:5/t");
    }
}
