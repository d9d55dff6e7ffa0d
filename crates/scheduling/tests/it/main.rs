//! Promises of the policies, over generated fleets and calls.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod placement;
mod policies;
mod queue;
mod rollout;
mod simulator;
mod speed_of_deciding;
