//! Why a database operation failed, without a word about the driver.

use std::error::Error;

use primitives::{Classify, ErrorKind};

/// Why a database operation failed. An absent row is not an error but `None`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The change contradicts what is stored.
    #[error("the change conflicts with {constraint}")]
    Conflict {
        /// The violated constraint as `table_column[_column…]`, or `foreign_key`; the same on both engines.
        constraint: String,
    },
    /// The database cannot be reached or does not answer in time. Trying again later may help.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The database server refused our sign-in: a password that was changed, a role that is locked or just being made.
    #[error("the database refused the sign-in")]
    Denied(#[source] Box<dyn Error + Send + Sync>),
    /// The database has no room: its disk, or the space it may use, is full. Works again once there is room.
    #[error("the database has no room left")]
    Full(#[source] Box<dyn Error + Send + Sync>),
    /// The database cannot be written: its file or its disk is read-only, or the server takes no writes.
    #[error("the database cannot be written")]
    ReadOnly(#[source] Box<dyn Error + Send + Sync>),
    /// The disk under the database fails.
    #[error("the disk of the database fails")]
    Disk(#[source] Box<dyn Error + Send + Sync>),
    /// The database file is damaged, or is no database.
    #[error("the database is damaged")]
    Damaged(#[source] Box<dyn Error + Send + Sync>),
    /// A stored value is not what its column should hold.
    #[error("the stored value of column {column} is not valid: {reason}")]
    Corrupt {
        /// The column of the result.
        column: String,
        /// What is wrong with the value.
        reason: String,
    },
    /// The configuration does not describe a database.
    #[error("{reason}")]
    Config {
        /// What is wrong, and what to write instead.
        reason: String,
    },
    /// The database refused the statement: our own mistake.
    #[error("the database refused a statement")]
    Backend(#[source] Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// Tells whether the change was refused because of the named constraint.
    pub fn is_conflict(&self, name: &str) -> bool {
        matches!(self, Self::Conflict { constraint } if constraint == name)
    }

    /// Tells whether the database was out of reach, so that the caller may go on without it.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Tells whether the same operation may succeed later without a change to it: the database was out of reach, refused the sign-in,
    /// had no room, could not be written or met a failing disk. What is to be written may wait.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::Denied(_)
                | Self::Full(_)
                | Self::ReadOnly(_)
                | Self::Disk(_)
        )
    }

    /// Tells whether the connection has ended, as opposed to one that does not answer in time.
    pub(crate) fn is_lost_connection(&self) -> bool {
        let Self::Unavailable(source) = self else {
            return false;
        };
        match source.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => true,
            // What the server says when it ends a session: admin_shutdown, crash_shutdown.
            Some(sqlx::Error::Database(error)) => {
                matches!(error.code().as_deref(), Some("57P01" | "57P02"))
            }
            _ => false,
        }
    }

    /// Tells another one of an error that struck several at once.
    pub(crate) fn shared(error: &std::sync::Arc<Self>) -> Self {
        let source = || Box::new(std::sync::Arc::clone(error));
        match &**error {
            Self::Conflict { constraint } => Self::Conflict {
                constraint: constraint.clone(),
            },
            Self::Unavailable(_) => Self::Unavailable(source()),
            Self::Denied(_) => Self::Denied(source()),
            Self::Full(_) => Self::Full(source()),
            Self::ReadOnly(_) => Self::ReadOnly(source()),
            Self::Disk(_) => Self::Disk(source()),
            Self::Damaged(_) => Self::Damaged(source()),
            Self::Corrupt { .. } | Self::Config { .. } | Self::Backend(_) => {
                Self::Backend(source())
            }
        }
    }

    pub(crate) fn timed_out() -> Self {
        Self::Unavailable("the database did not answer in time".into())
    }
}

impl Classify for StoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Unavailable(_)
            | Self::Denied(_)
            | Self::Full(_)
            | Self::ReadOnly(_)
            | Self::Disk(_)
            | Self::Damaged(_) => ErrorKind::Unavailable,
            Self::Config { .. } => ErrorKind::Invalid,
            Self::Corrupt { .. } | Self::Backend(_) => ErrorKind::Bug,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Conflict { .. } => "the change conflicts with what is stored".to_owned(),
            Self::Unavailable(_) => "the database is not available now: try again later".to_owned(),
            Self::Denied(_) => {
                "the database refused the sign-in: correct the user and the password in [store] url, or let that user in again"
                    .to_owned()
            }
            Self::Full(_) => {
                "the disk of the database is full: free some space there, or move the data directory to a larger disk; nothing was lost"
                    .to_owned()
            }
            Self::ReadOnly(_) => {
                "the database cannot be written: check the owner and the permissions of its file and folder, and whether its disk is \
                 mounted read-only (on PostgreSQL: whether the address names a standby)"
                    .to_owned()
            }
            Self::Disk(_) => {
                "the disk of the database fails: look into the system's log, and copy the data directory to another disk before \
                 going on"
                    .to_owned()
            }
            Self::Damaged(_) => {
                "the database file is damaged or is no database: stop Remuda, keep a copy of the file with its -wal and -shm, and \
                 restore a backup, or save what can be read with `sqlite3 FILE .recover`"
                    .to_owned()
            }
            Self::Config { reason } => reason.clone(),
            Self::Corrupt { .. } | Self::Backend(_) => {
                "the database refused the operation: the log has the reason".to_owned()
            }
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(ref cause) => match verdict(cause.as_ref()) {
                Verdict::Conflict(constraint) => Self::Conflict { constraint },
                Verdict::Unavailable => Self::Unavailable(Box::new(error)),
                Verdict::Denied => Self::Denied(Box::new(error)),
                Verdict::Full => Self::Full(Box::new(error)),
                Verdict::ReadOnly => Self::ReadOnly(Box::new(error)),
                Verdict::Disk => Self::Disk(Box::new(error)),
                Verdict::Damaged => Self::Damaged(Box::new(error)),
                Verdict::Refused => Self::Backend(Box::new(error)),
            },
            sqlx::Error::ColumnDecode { index, source } => Self::Corrupt {
                column: index,
                reason: source.to_string(),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(Box::new(error)),
            _ => Self::Backend(Box::new(error)),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Conflict(String),
    Unavailable,
    Denied,
    Full,
    ReadOnly,
    Disk,
    Damaged,
    Refused,
}

fn verdict(error: &dyn sqlx::error::DatabaseError) -> Verdict {
    if error.is_unique_violation() {
        let constraint = error
            .constraint()
            .map_or_else(|| sqlite_constraint(error.message()), str::to_owned);
        return Verdict::Conflict(constraint);
    }
    if error.is_foreign_key_violation() {
        return Verdict::Conflict("foreign_key".to_owned());
    }
    let code = error.code().unwrap_or_default();
    let postgres = error
        .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
        .is_some();
    if postgres {
        postgres_verdict(&code)
    } else {
        sqlite_verdict(&code)
    }
}

/// Turns `UNIQUE constraint failed: t.a, t.b` into `t_a_b`, as the index is called on PostgreSQL.
fn sqlite_constraint(message: &str) -> String {
    let columns = message.rsplit(": ").next().unwrap_or_default();
    let mut name = String::new();
    for column in columns.split(", ") {
        let (table, column) = column.split_once('.').unwrap_or((column, ""));
        if name.is_empty() {
            name.push_str(table);
        }
        name.push('_');
        name.push_str(column);
    }
    name
}

/// Judges an SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn postgres_verdict(code: &str) -> Verdict {
    // Connection trouble, lack of resources and operator intervention (a cancelled statement is one).
    const PASSING_CLASSES: [&str; 3] = ["08", "53", "57"];
    // Lost races, a database that is just being made or takes no connections.
    const PASSING: [&str; 5] = ["3D000", "40001", "40P01", "55000", "55P03"];
    // A prepared statement that another process's change of the schema made useless, or that the server does not have: the connection
    // is given up, and the next one prepares it anew.
    const OUTDATED: [&str; 3] = ["0A000", "26000", "42P05"];
    match code {
        "53100" => Verdict::Full,
        // A transaction that only reads, as on a standby.
        "25006" => Verdict::ReadOnly,
        "58030" => Verdict::Disk,
        // Invalid authorization specification.
        code if code.starts_with("28") => Verdict::Denied,
        "XX001" | "XX002" => Verdict::Damaged,
        code if PASSING.contains(&code) || OUTDATED.contains(&code) => Verdict::Unavailable,
        code if PASSING_CLASSES.iter().any(|class| code.starts_with(class)) => Verdict::Unavailable,
        _ => Verdict::Refused,
    }
}

/// Judges a result code of SQLite (<https://www.sqlite.org/rescode.html>); an extended code keeps the primary one in its low byte.
fn sqlite_verdict(code: &str) -> Verdict {
    let Ok(code) = code.parse::<u32>() else {
        return Verdict::Refused;
    };
    match code & 0xff {
        // BUSY, LOCKED, INTERRUPT (a statement that was given up), CANTOPEN.
        5 | 6 | 9 | 14 => Verdict::Unavailable,
        8 => Verdict::ReadOnly,
        10 => Verdict::Disk,
        11 | 26 => Verdict::Damaged,
        13 => Verdict::Full,
        _ => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_constraints_get_the_names_that_postgres_uses() {
        assert_eq!(
            sqlite_constraint("UNIQUE constraint failed: users.username"),
            "users_username"
        );
        assert_eq!(
            sqlite_constraint("UNIQUE constraint failed: t.a, t.b"),
            "t_a_b"
        );
    }

    #[test]
    fn codes_are_judged_by_what_a_person_can_do() {
        for (code, verdict) in [
            ("5", Verdict::Unavailable),
            ("517", Verdict::Unavailable),
            ("8", Verdict::ReadOnly),
            ("1032", Verdict::ReadOnly),
            ("778", Verdict::Disk),
            ("11", Verdict::Damaged),
            ("26", Verdict::Damaged),
            ("13", Verdict::Full),
            ("1", Verdict::Refused),
        ] {
            assert_eq!(sqlite_verdict(code), verdict, "{code}");
        }
        for (code, verdict) in [
            ("57014", Verdict::Unavailable),
            ("57P01", Verdict::Unavailable),
            ("08006", Verdict::Unavailable),
            ("53300", Verdict::Unavailable),
            ("0A000", Verdict::Unavailable),
            ("26000", Verdict::Unavailable),
            ("28000", Verdict::Denied),
            ("28P01", Verdict::Denied),
            ("53100", Verdict::Full),
            ("25006", Verdict::ReadOnly),
            ("58030", Verdict::Disk),
            ("XX001", Verdict::Damaged),
            ("42601", Verdict::Refused),
        ] {
            assert_eq!(postgres_verdict(code), verdict, "{code}");
        }
    }
}
