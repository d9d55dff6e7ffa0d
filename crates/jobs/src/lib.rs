//! Work that is carried out whatever happens to the process meanwhile: accepted, then done by whoever holds its lease, followed by who asked.
//!
//! The table is the truth. A job is written before it is accepted, claimed by one statement, and held by a lease that its run renews; a
//! lease that ran out makes the job due again. Only the run that holds the lease writes, so that a run that was believed dead cannot
//! write into the one that took its place. What a job does is not known here: an [`Executor`] looks at it before it is accepted and
//! carries it out.
//!
//! Nothing here may hold up the data plane, and whoever did not ask for a job never learns that it exists.

mod batches;
mod cancel;
mod claims;
mod config;
mod engine;
mod executor;
mod files;
mod follow;
mod keep;
mod list;
mod metrics;
mod model;
mod openai;
mod output;
mod personal;
mod places;
mod reseal;
mod room;
mod routes;
mod run;
mod seal;
mod store;
mod submit;
mod surface;
mod work;

pub use batches::{BatchAnswer, BatchExecutor, BatchRequest};
pub use config::JobsConfig;
pub use engine::{
    Backoff, Cron, CronError, DeadJob, Enqueued, Handler, Keep, KindSpec, KindState, NewWork,
    Priority, Rate, ScheduleSpec, ScheduleState, Task,
};
pub use executor::{Executor, Outcome, Refusal, Step, Work};
pub use list::{JobFilter, JobSort};
pub use model::{Job, JobError, JobKind, JobState, Owner};
pub use surface::{JobStep, Jobs, JobsDeps, Observer};
