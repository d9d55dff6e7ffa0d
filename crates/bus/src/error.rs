//! Why something could not be shared.

/// Why something could not be shared. Whoever meets it goes on alone.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Redis is not in reach, or has not answered in time.
    #[error("Redis is not in reach")]
    Away,
    /// Redis has refused.
    #[error("Redis has refused: {0}")]
    Refused(String),
    /// The queue of what is to be told is full.
    #[error("too much waits to be told to Redis")]
    Full,
}
