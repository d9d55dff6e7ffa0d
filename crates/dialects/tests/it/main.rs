//! The dialects as the gateway uses them: requests and responses that go through every pair of dialects.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails panics"
)]

mod requests;
mod responses;
mod robustness;
