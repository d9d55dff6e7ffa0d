//! Conformance: what holds on one engine holds on the other, and through a pooler. One module per promise.

mod bulk;
mod concurrency;
mod migrations;
mod outage;
mod private_file;
mod schema;
mod transactions;
mod values;
