//! Identity through its real router, on every engine.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod app;
mod bounds;
mod keys;
mod lasting;
mod late_body;
mod organisations;
mod outage;
mod races;
mod refusals;
mod rights;
mod setup;
mod sign_in;
