//! Conformance: what holds on one engine holds on the other, and through a pooler. One module per promise.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod backup;
mod bulk;
mod concurrency;
mod connections;
mod migrations;
mod months;
mod outage;
mod prepared;
mod private_file;
mod schema;
mod sharing;
mod statement_limit;
mod transactions;
mod troubles;
mod values;
