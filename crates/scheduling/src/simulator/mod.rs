//! The trace simulator: a recorded day under another policy, in virtual time, before anybody switches.
//!
//! Requests go through the same queue, admission, policies, breakers and learned speeds as in the live gateway; only the nodes
//! are models of nodes ([`FleetSpec`] describes them). Nothing depends on the machine it runs on: the same trace, fleet, policy
//! and options give the same [`Report`].
//!
//! It must stay an estimate that says what it leaves out: arrivals do not wait for answers, reading a prompt does not slow down
//! answers, and a request that lost its node starts over.

mod arrivals;
mod counts;
mod fleet;
mod node;
mod options;
mod oracle;
mod plot;
mod report;
mod requests;
mod router;
mod spot;
mod standing;
mod synthetic;
mod trace;
mod world;

pub use fleet::{FailureSpec, FleetError, FleetSpec, ModelSpec, NodeSpec};
pub use options::{Options, Slo};
pub use plot::{
    Chart, Panel, PlotError, PlotFormat, Series, UnknownPlotFormat, plot, plot_over_time,
};
pub use report::{Latency, PrefixReport, Report, Table};
pub use synthetic::Synthetic;
pub use trace::{BLOCK_TOKENS, TraceError, TraceErrorKind, TraceFormat, TraceReader, TraceRequest};

use crate::policy::{PolicyName, policy};

/// Why a simulation cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The trace cannot be read further.
    #[error("the trace cannot be used: {0}")]
    Trace(#[from] TraceError),
    /// The fleet cannot be.
    #[error("the fleet cannot be used: {0}")]
    Fleet(#[from] FleetError),
    /// The rate is no rate.
    #[error("the rate must be a number from 0.0001 to 10000")]
    Rate,
    /// More than can be numbered.
    #[error("the fleet has too many nodes")]
    TooManyNodes,
}

/// Replays a trace over a fleet with a policy.
///
/// # Errors
///
/// [`SimulationError`] names the line of the trace, or the part of the fleet, that cannot be used.
pub fn simulate(
    trace: impl Iterator<Item = Result<TraceRequest, TraceError>>,
    fleet: &FleetSpec,
    name: PolicyName,
    options: &Options,
) -> Result<Report, SimulationError> {
    fleet.check()?;
    if !(1e-4..=1e4).contains(&options.rate) {
        return Err(SimulationError::Rate);
    }
    world::run(trace, fleet, &*policy(name), options)
}
