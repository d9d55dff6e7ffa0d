//! Decides where a call goes, and what a node's recent past says about it: routing policies, breaker, retry budget,
//! learned speeds, prefix affinity and liveness.
//!
//! Everything here is a function of its arguments: time and randomness come in as values, nothing waits, nothing does I/O.
//! That is why the live gateway and a simulation in virtual time can run the same code. This crate must never hold a lock,
//! read a clock or know how a node is reached.
//!
//! The invariant that callers rely on: a policy never chooses a candidate that [`exclusion`] rules out.

mod breaker;
mod call;
mod eligibility;
mod estimate;
mod liveness;
mod policies;
mod policy;
mod prefix;
mod reason;
mod retry_budget;
mod speed;
mod window;

pub use breaker::{Breaker, BreakerVerdict, CallOutcome};
pub use call::{Call, Candidate, Residency};
pub use eligibility::{Exclusion, exclusion};
pub use estimate::{Estimate, Priors};
pub use liveness::{
    Health, Liveness, LivenessCause, LivenessEvent, LivenessVerdict, ProbeFailure, is_mass_failure,
};
pub use policies::{LeastLoad, Remuda, RoundRobin};
pub use policy::{Decision, PolicyName, RoutingPolicy, Scored, UnknownPolicy, policy};
pub use prefix::{BLOCK_BYTES, MAX_BLOCKS, PrefixIndex, block_hashes};
pub use reason::{Reason, Reasons};
pub use retry_budget::RetryBudget;
pub use speed::{Speed, SpeedSample};
