//! Identity through its real router, on every engine.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod app;
mod audit;
mod bounds;
mod conditional;
mod keys;
mod lasting;
mod late_body;
mod listing;
mod oidc;
mod organisations;
mod outage;
mod passwords;
mod people;
mod races;
mod refusals;
mod repeated;
mod rights;
mod roles;
mod sessions;
mod setup;
mod sign_in;
mod totp;
