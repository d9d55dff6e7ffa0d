//! Figures of updates of agents, as `OpenMetrics` text. Labels come from closed sets.

use parking_lot::Mutex;

use super::AgentUpdates;
use super::record::{AgentRollout, AgentRolloutState};

#[derive(Debug, Default)]
struct Counts {
    open: Option<(AgentRolloutState, u32)>,
    taken: u64,
    not_taken: u64,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Figures(Mutex<Counts>);

impl Figures {
    /// Notes the roll-out that is under way.
    pub(super) fn show(&self, open: Option<&AgentRollout>) {
        self.0.lock().open = open.map(|rollout| (rollout.state, rollout.stage));
    }

    /// Counts a release that was given to an agent.
    pub(super) fn given(&self, taken: bool) {
        let mut counts = self.0.lock();
        if taken {
            counts.taken += 1;
        } else {
            counts.not_taken += 1;
        }
    }
}

impl AgentUpdates {
    /// Writes the figures.
    pub fn render_metrics(&self) -> String {
        let counts = self.inner.figures.0.lock();
        let is = |state| u8::from(counts.open.is_some_and(|(open, _)| open == state));
        let stage = counts.open.map_or(0, |(_, stage)| stage + 1);
        let (running, paused) = (
            is(AgentRolloutState::Running),
            is(AgentRolloutState::Paused),
        );
        let (taken, not_taken) = (counts.taken, counts.not_taken);
        format!(
            "# HELP remuda_agent_rollouts Roll-outs to agents that are under way.\n\
             # TYPE remuda_agent_rollouts gauge\n\
             remuda_agent_rollouts{{state=\"running\"}} {running}\n\
             remuda_agent_rollouts{{state=\"paused\"}} {paused}\n\
             # HELP remuda_agent_rollout_stage The stage of the roll-out to agents, from 1 on; 0 without one.\n\
             # TYPE remuda_agent_rollout_stage gauge\n\
             remuda_agent_rollout_stage {stage}\n\
             # HELP remuda_agent_releases_given Releases that this process gave to agents, by whether they took them.\n\
             # TYPE remuda_agent_releases_given counter\n\
             remuda_agent_releases_given_total{{outcome=\"taken\"}} {taken}\n\
             remuda_agent_releases_given_total{{outcome=\"not_taken\"}} {not_taken}\n\
             # EOF\n"
        )
    }
}
