//! The engine that carries out all deferred work of the program: kinds are registered with their limits, work is enqueued in the caller's
//! transaction, claimed in batches by lease, and ended in batches.
//!
//! It knows nothing of what a kind does. A job is carried out at least once and its end is written once: whoever ends it names the run
//! that holds the lease, and a run that was given up finds nothing to write to.

pub(crate) mod admin;
pub(crate) mod counts;
pub(crate) mod cron;
pub(crate) mod duty;
pub(crate) mod ends;
pub(crate) mod enqueue;
pub(crate) mod hold;
pub(crate) mod kind;
pub(crate) mod schedule;
pub(crate) mod task;
pub(crate) mod wake;

pub use admin::{DeadJob, KindState};
pub use cron::{Cron, CronError};
pub use enqueue::{Enqueued, NewWork, Priority};
pub use kind::{Backoff, Handler, Keep, KindSpec, Rate, Task};
pub use schedule::{ScheduleSpec, ScheduleState};
