//! Times in queries.

use primitives::Timestamp;
use serde::de::{Deserialize as _, Deserializer, Error as _};

/// Reads an RFC 3339 time.
pub(super) fn time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match Timestamp::parse_rfc3339(&text) {
        Some(time) => Ok(Some(time)),
        None => Err(D::Error::custom(
            "a time must be as RFC 3339 says, as 2026-01-02T03:04:05Z",
        )),
    }
}
