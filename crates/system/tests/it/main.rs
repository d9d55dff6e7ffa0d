//! The domain through its real router, on every engine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod app;
mod database;
mod secrets;
mod settings;
