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

    pub(crate) fn timed_out() -> Self {
        Self::Unavailable("the database did not answer in time".into())
    }
}

impl Classify for StoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Config { .. } => ErrorKind::Invalid,
            Self::Corrupt { .. } | Self::Backend(_) => ErrorKind::Bug,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Conflict { .. } => "the change conflicts with what is stored".to_owned(),
            Self::Unavailable(_) => "the database is not available now: try again later".to_owned(),
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

enum Verdict {
    Conflict(String),
    Unavailable,
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
    let passing = if postgres {
        is_passing_in_postgres(&code)
    } else {
        is_passing_in_sqlite(&code)
    };
    if passing {
        Verdict::Unavailable
    } else {
        Verdict::Refused
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

/// Connection trouble, lack of resources, operator intervention, lost races, and a server that only reads (a standby).
fn is_passing_in_postgres(code: &str) -> bool {
    const CLASSES: [&str; 3] = ["08", "53", "57"];
    const CODES: [&str; 6] = ["25006", "3D000", "40001", "40P01", "55000", "55P03"];
    CLASSES.iter().any(|class| code.starts_with(class)) || CODES.contains(&code)
}

/// Primary codes READONLY 8, BUSY 5, LOCKED 6, IOERR 10, FULL 13, CANTOPEN 14; the extended code keeps them in the low byte.
fn is_passing_in_sqlite(code: &str) -> bool {
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 13 | 14))
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
    fn a_busy_or_full_disk_is_passing_and_a_syntax_error_is_not() {
        assert!(
            is_passing_in_sqlite("5") && is_passing_in_sqlite("517") && is_passing_in_sqlite("13")
        );
        assert!(!is_passing_in_sqlite("1"));
        assert!(is_passing_in_postgres("57P01") && is_passing_in_postgres("08006"));
        assert!(!is_passing_in_postgres("42601"));
    }
}
