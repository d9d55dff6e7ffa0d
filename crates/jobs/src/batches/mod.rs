//! Batches: a file of requests, each answered in its own time, the answers in a file again.
//!
//! A batch is carried out by one job of the engine. Its lines are rows: read from the file in pieces, claimed in pages of each model and
//! answered through the executor, so that memory does not grow with the batch. A line's answer is kept once, whoever gives it: it is
//! written only while the line waits.

mod accept;
mod answer;
mod finish;
mod line;
mod model;
mod register;
mod run;
mod sweep;
mod validate;

pub(crate) use accept::NewBatch;
pub use answer::{BatchAnswer, BatchExecutor, BatchRequest};
pub(crate) use line::LineState;
pub(crate) use model::{Batch, BatchError, BatchId, BatchStatus, Fault};

/// The kind of work that carries batches out.
pub(crate) const KIND: &str = "batch";
/// The kind of work that looks after batches and files.
pub(crate) const SWEEP: &str = "batch_sweep";
/// The most batches of an organisation that have not ended.
pub(crate) const LIVE: u64 = 100;
/// The longest a batch may take; the only window there is.
pub(crate) const WINDOW: std::time::Duration = std::time::Duration::from_hours(24);
