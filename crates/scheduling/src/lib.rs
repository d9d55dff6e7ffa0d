//! Decides who goes next and where, and what a node's recent past says about it: the fair queue and admission, routing policies,
//! residency of models, breaker, retry budget, learned speeds and capacities, prefix affinity, liveness; and the simulator that
//! runs all of it on recorded traces.
//!
//! Everything here is a function of its arguments: time and randomness come in as values, nothing waits, nothing does I/O.
//! That is why the live gateway and a simulation in virtual time can run the same code. This crate must never hold a lock,
//! read a clock or know how a node is reached.
//!
//! The invariant that callers rely on: a policy never chooses a candidate that [`exclusion`] rules out.

mod admission;
mod breaker;
mod call;
mod capacity;
mod eligibility;
mod estimate;
mod hashing;
mod holders;
mod liveness;
mod lru;
pub mod placement;
mod policies;
mod policy;
mod prefix;
pub mod queue;
mod reason;
mod residency;
mod retry_budget;
pub mod rollout;
mod row;
mod rows;
mod scores;
mod silence;
pub mod simulator;
mod speed;
mod split;
mod window;

pub use admission::{Dispatch, Placement, Step, may_reserve, offer, step_anywhere, step_of};
pub use breaker::{Breaker, BreakerVerdict, CallOutcome};
pub use call::{Call, Candidate, Residency};
pub use capacity::{Capacity, CapacityOutcome, CapacityRule, Portion};
pub use eligibility::{Exclusion, exclusion};
pub use estimate::{Estimate, Priors, load_time};
pub use liveness::{
    Health, Liveness, LivenessCause, LivenessEvent, LivenessVerdict, ProbeFailure, WorkingProbes,
    is_mass_failure,
};
pub use policies::{LeastLoad, PeakEwma, PrefixAffinity, Remuda, RoundRobin};
pub use policy::{
    Decision, Describe, EXPLAINED, PolicyName, RoutingPolicy, Scored, UnknownPolicy, policy,
};
pub use prefix::{BLOCK_BYTES, MAX_BLOCKS, PrefixIndex, block_hashes};
pub use reason::{Reason, Reasons};
pub use residency::{
    ColdLoads, Demand, HoldRule, Host, LearnedMemory, ModelHold, NodeModels, Resident, RunVerdict,
    SwapVerdict, best_host, context_to_ask, evictions, may_run, prewarm,
};
pub use retry_budget::RetryBudget;
pub use row::{Row, View};
pub use rows::Rows;
pub use silence::{FirstSign, Silence};
pub use speed::{Speed, SpeedSample};
pub use split::{Split, Variant};
