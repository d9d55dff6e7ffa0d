//! The registry against real databases and against servers that speak like the ones in the field.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod changes;
mod config;
mod detection;
mod embedded;
mod liveness;
mod nodes;
mod offline;
mod server;
