//! Figures of roll-outs, as `OpenMetrics` text. Models are those of open roll-outs, which are bounded; other labels come from closed sets.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use identity::journal::Action;
use parking_lot::Mutex;

use super::Rollouts;
use super::record::{Rollout, State};

#[derive(Debug, Default)]
struct Counts {
    open: Vec<(String, Option<u32>, u32)>,
    states: BTreeMap<State, u64>,
    decided: BTreeMap<&'static str, u64>,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Figures(Mutex<Counts>);

/// What can be decided.
const DECISIONS: [&str; 3] = ["advance", "roll_back", "done"];

impl Figures {
    /// Notes the roll-outs that decide something.
    pub(super) fn show(&self, open: &[Rollout]) {
        let mut counts = self.0.lock();
        counts.open = open
            .iter()
            .map(|rollout| (rollout.model.clone(), rollout.stage, rollout.share))
            .collect();
        counts.states.clear();
        for rollout in open {
            *counts.states.entry(rollout.state).or_default() += 1;
        }
    }

    /// Counts a decision of this process.
    pub(super) fn decided(&self, action: Action) {
        let decision = match action {
            Action::RolloutRollBack => "roll_back",
            Action::RolloutDone => "done",
            _ => "advance",
        };
        *self.0.lock().decided.entry(decision).or_default() += 1;
    }
}

/// Writes a text as the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

impl Rollouts {
    /// Writes the figures.
    pub fn render_metrics(&self) -> String {
        let counts = self.inner.figures.0.lock();
        let mut text = String::from(
            "# HELP remuda_rollouts Roll-outs that decide which version callers get.\n# TYPE remuda_rollouts gauge\n",
        );
        // Writing into a text does not fail.
        for state in State::ALL {
            let count = counts.states.get(&state).copied().unwrap_or(0);
            let state = state.as_str();
            drop(writeln!(
                text,
                "remuda_rollouts{{state=\"{state}\"}} {count}"
            ));
        }
        text.push_str(
            "# HELP remuda_rollout_stage The stage of a roll-out, from 1 on; 0 before the first.\n# TYPE remuda_rollout_stage gauge\n",
        );
        for (model, stage, _) in &counts.open {
            let (model, stage) = (escaped(model), stage.map_or(0, |stage| stage + 1));
            drop(writeln!(
                text,
                "remuda_rollout_stage{{model=\"{model}\"}} {stage}"
            ));
        }
        text.push_str(
            "# HELP remuda_rollout_share_ratio The share of callers who get the new version.\n# TYPE remuda_rollout_share_ratio gauge\n# UNIT remuda_rollout_share_ratio ratio\n",
        );
        for (model, _, share) in &counts.open {
            let (model, share) = (escaped(model), f64::from(*share) / 10_000.0);
            drop(writeln!(
                text,
                "remuda_rollout_share_ratio{{model=\"{model}\"}} {share}"
            ));
        }
        text.push_str(
            "# HELP remuda_rollout_decisions Decisions about roll-outs by this process.\n# TYPE remuda_rollout_decisions counter\n",
        );
        for decision in DECISIONS {
            let count = counts.decided.get(decision).copied().unwrap_or(0);
            drop(writeln!(
                text,
                "remuda_rollout_decisions_total{{decision=\"{decision}\"}} {count}"
            ));
        }
        text.push_str("# EOF\n");
        text
    }
}
