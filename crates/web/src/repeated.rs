//! The name that a client gives to a request so that sending it again has no second effect.

/// The header with the name.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
