//! Figures of roll-outs, as `OpenMetrics` text. Models are those of open roll-outs, which are bounded; other labels come from closed sets.

use std::collections::BTreeMap;

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
        let mut text = String::new();
        let mut family = |head: &str, name: &str, series: Vec<(&str, String, String)>| {
            text.push_str(head);
            for (label, of, value) in series {
                text.extend([name, "{", label, "=\"", &escaped(&of), "\"} ", &value, "\n"]);
            }
        };
        let states = State::ALL.map(|state| {
            let count = counts.states.get(&state).copied().unwrap_or(0);
            ("state", state.as_str().to_owned(), count.to_string())
        });
        family(
            "# HELP remuda_rollouts Roll-outs that decide which version callers get.\n# TYPE remuda_rollouts gauge\n",
            "remuda_rollouts",
            states.to_vec(),
        );
        let open = |value: fn(Option<u32>, u32) -> String| {
            let series = counts.open.iter();
            series
                .map(|(model, stage, share)| ("model", model.clone(), value(*stage, *share)))
                .collect()
        };
        family(
            "# HELP remuda_rollout_stage The stage of a roll-out, from 1 on; 0 before the first.\n# TYPE remuda_rollout_stage gauge\n",
            "remuda_rollout_stage",
            open(|stage, _| stage.map_or(0, |stage| stage + 1).to_string()),
        );
        family(
            "# HELP remuda_rollout_share_ratio The share of callers who get the new version.\n# TYPE remuda_rollout_share_ratio gauge\n# UNIT remuda_rollout_share_ratio ratio\n",
            "remuda_rollout_share_ratio",
            open(|_, share| (f64::from(share) / 10_000.0).to_string()),
        );
        let decided = DECISIONS.map(|decision| {
            let count = counts.decided.get(decision).copied().unwrap_or(0);
            ("decision", decision.to_owned(), count.to_string())
        });
        family(
            "# HELP remuda_rollout_decisions Decisions about roll-outs by this process.\n# TYPE remuda_rollout_decisions counter\n",
            "remuda_rollout_decisions_total",
            decided.to_vec(),
        );
        text.push_str("# EOF\n");
        text
    }
}
