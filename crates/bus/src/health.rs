//! How Redis is, in words.

use std::time::Duration;

/// How Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Well {
        /// How long its last answer to a probe took.
        took: Duration,
    },
    /// It is not in reach, or too slow: each process counts for itself.
    Away {
        /// Why, without addresses' secrets.
        reason: String,
        /// For how long.
        since: Duration,
    },
}
