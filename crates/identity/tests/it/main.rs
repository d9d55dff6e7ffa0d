//! Identity through its real router, on every engine.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod app;
mod keys;
mod lasting;
mod organisations;
mod outage;
mod refusals;
mod setup;
mod sign_in;
