//! Figures of placement, as `OpenMetrics` text. Labels come from closed sets.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use scheduling::placement::{ActionKind, Plan};

use super::Placement;
use super::action::{Status, Stored};

#[derive(Debug, Default)]
struct Counts {
    planned: BTreeMap<&'static str, u64>,
    open: BTreeMap<(&'static str, &'static str), u64>,
    unmet: u64,
    drifting: u64,
    ended: BTreeMap<(&'static str, &'static str), u64>,
    fetched_bytes: u64,
    copies: BTreeMap<&'static str, u64>,
    copied_bytes: u64,
}

/// How a copy went.
#[derive(Clone, Copy, Debug)]
pub(super) enum Copied {
    Done,
    /// It did not work, and the model was pulled.
    FellBack,
    /// It did not work, and pulling would not have.
    Failed,
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Figures(Mutex<Counts>);

impl Figures {
    /// Notes the plan, and what waits and is under way.
    pub(super) fn planned(&self, plan: &Plan, open: &[Stored]) {
        let mut counts = self.0.lock();
        counts.planned.clear();
        for action in &plan.actions {
            *counts.planned.entry(action.kind.as_str()).or_default() += 1;
        }
        counts.open.clear();
        for stored in open {
            let labels = (stored.action.kind.as_str(), stored.status.as_str());
            *counts.open.entry(labels).or_default() += 1;
        }
        counts.unmet = plan.unmet.len() as u64;
        counts.drifting = plan.drift.len() as u64;
    }

    /// Counts a copy that has ended, with the bytes that it brought.
    pub(super) fn copied(&self, how: Copied, bytes: u64) {
        let outcome = match how {
            Copied::Done => "done",
            Copied::FellBack => "fell_back",
            Copied::Failed => "failed",
        };
        let mut counts = self.0.lock();
        *counts.copies.entry(outcome).or_default() += 1;
        counts.copied_bytes = counts.copied_bytes.saturating_add(bytes);
    }

    /// Counts an action that has ended.
    pub(super) fn ended(&self, kind: ActionKind, status: Status, bytes: u64) {
        let mut counts = self.0.lock();
        let labels = (kind.as_str(), status.as_str());
        *counts.ended.entry(labels).or_default() += 1;
        counts.fetched_bytes = counts.fetched_bytes.saturating_add(bytes);
    }
}

impl Placement {
    /// Writes the figures, as far as this process reconciles.
    pub fn render_metrics(&self) -> String {
        let counts = self.inner.figures.0.lock();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, series: Vec<(String, u64)>| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            text.extend([
                "# HELP ",
                name,
                " ",
                help,
                "\n# TYPE ",
                name,
                " ",
                kind,
                "\n",
            ]);
            for (labels, count) in series {
                text.extend([name, suffix, &labels, " ", &count.to_string(), "\n"]);
            }
        };
        let planned = ActionKind::ALL.map(|kind| {
            let count = counts.planned.get(kind.as_str()).copied().unwrap_or(0);
            (format!("{{kind=\"{}\"}}", kind.as_str()), count)
        });
        family(
            "remuda_placement_planned",
            "gauge",
            "Actions of the plan that do not wait yet.",
            planned.to_vec(),
        );
        let by_two = |map: &BTreeMap<(&'static str, &'static str), u64>| {
            map.iter()
                .map(|((kind, status), count)| {
                    (format!("{{kind=\"{kind}\",status=\"{status}\"}}"), *count)
                })
                .collect::<Vec<_>>()
        };
        family(
            "remuda_placement_open",
            "gauge",
            "Actions that wait or are carried out.",
            by_two(&counts.open),
        );
        family(
            "remuda_placement_unmet",
            "gauge",
            "What is wanted and cannot be had.",
            vec![(String::new(), counts.unmet)],
        );
        family(
            "remuda_placement_drifting_models",
            "gauge",
            "Models with different files under one name.",
            vec![(String::new(), counts.drifting)],
        );
        family(
            "remuda_placement_actions",
            "counter",
            "Actions that have ended.",
            by_two(&counts.ended),
        );
        family(
            "remuda_placement_fetched_bytes",
            "counter",
            "Bytes of models that nodes told to have fetched.",
            vec![(String::new(), counts.fetched_bytes)],
        );
        let copies = counts.copies.iter();
        family(
            "remuda_placement_copies",
            "counter",
            "Copies between nodes that have ended, and how.",
            copies
                .map(|(outcome, count)| (format!("{{outcome=\"{outcome}\"}}"), *count))
                .collect(),
        );
        family(
            "remuda_placement_copied_bytes",
            "counter",
            "Bytes of models that nodes have had from other nodes, as far as their copies came.",
            vec![(String::new(), counts.copied_bytes)],
        );
        text.push_str("# EOF\n");
        text
    }
}
