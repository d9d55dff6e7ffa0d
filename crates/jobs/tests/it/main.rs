//! The domain through its real router and its loop, on every engine, with an executor that does as it is told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod app;
mod attempts;
mod batches;
mod engine;
mod leases;
