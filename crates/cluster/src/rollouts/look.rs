//! A roll-out as it stands at a moment: what was seen of both versions, where they are, and what is to be done.

use ::store::{StoreError, Tx};
use primitives::{NodeId, Timestamp};
use scheduling::rollout::{Hold, Moment, Next, Observed, Stage, Verdict, decide};

use super::Rollouts;
use super::record::{FaultKind, Rollout, State};
use super::split::RolloutVersion;
use super::store::{self, Counts};
use crate::snapshot::FleetSnapshot;

/// What was seen under a roll-out.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Of the new version in the present stage.
    pub(super) new: Observed,
    /// Of the old version in the present stage.
    pub(super) old: Observed,
    /// Of the old version in all stages.
    pub(super) old_ever: Observed,
}

impl Seen {
    /// Takes what concerns a stage out of all that was counted.
    fn of(counts: &Counts, stage: Option<u32>) -> Self {
        let in_stage = |version| {
            let found = stage.and_then(|stage| counts.get(&(stage, version)));
            found.cloned().unwrap_or_default()
        };
        let mut seen = Self {
            new: in_stage(RolloutVersion::New),
            old: in_stage(RolloutVersion::Old),
            old_ever: Observed::default(),
        };
        for ((_, version), observed) in counts {
            if *version == RolloutVersion::Old {
                seen.old_ever.add(observed);
            }
        }
        seen
    }
}

/// A roll-out with what was seen of it.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub(super) rollout: Rollout,
    pub(super) seen: Seen,
    /// Requests that showed the fault for which it was taken back, or that failed in the present stage.
    pub(super) shown: Vec<String>,
    /// What it waits for, where it goes from stage to stage.
    pub(super) waits_for: Option<String>,
}

/// Returns the nodes that have a model and take requests, by name.
pub(super) fn usable_nodes(fleet: &FleetSnapshot, model: &str) -> Vec<NodeId> {
    fleet
        .replicas(model)
        .iter()
        .filter_map(|replica| fleet.resolve(*replica))
        .filter(|(node, _)| node.is_routable())
        .map(|(node, _)| node.id)
        .collect()
}

/// Counts them.
pub(super) fn count_usable(fleet: &FleetSnapshot, model: &str) -> u32 {
    u32::try_from(usable_nodes(fleet, model).len()).unwrap_or(u32::MAX)
}

/// Decides what to do about a roll-out that is under way.
pub(super) fn verdict(
    rollout: &Rollout,
    seen: &Seen,
    fleet: &FleetSnapshot,
    now: Timestamp,
) -> Verdict {
    let next = match rollout.next_stage() {
        None => Next::Nothing,
        Some(position) => {
            let old = count_usable(fleet, &rollout.old_model);
            let stage = rollout.stages.get(position as usize);
            Next::Stage {
                needed: stage.unwrap_or(Stage::Node).nodes(old),
                present: count_usable(fleet, &rollout.new_model),
            }
        }
    };
    let moment = Moment {
        entered_at: rollout.entered_at,
        is_paused: rollout.state == State::Paused,
        next,
        new: &seen.new,
        old: &seen.old,
        old_ever: &seen.old_ever,
    };
    decide(&moment, &rollout.rule, now)
}

/// Says what a roll-out waits for, and where that is up to people, how to end the wait.
pub(super) fn waiting_text(rollout: &Rollout, hold: &Hold) -> String {
    match hold {
        Hold::Nodes { needed, .. } => format!(
            "{hold}: `remuda placement set {} --mode auto --on-disk {needed}` brings it there, `remuda rollout promote {}` goes on without",
            rollout.new_name, rollout.name
        ),
        Hold::Paused => format!(
            "{hold}: `remuda rollout resume {}` lets it go on",
            rollout.name
        ),
        _ => hold.to_string(),
    }
}

/// Reads what was seen of a roll-out in its present stage.
pub(super) async fn read_seen(tx: &mut Tx, rollout: &Rollout) -> Result<Seen, StoreError> {
    let counts = store::read_counts(tx, rollout.id).await?;
    Ok(Seen::of(&counts, rollout.stage))
}

impl Rollouts {
    /// Looks at a roll-out.
    pub(super) async fn look_at(
        &self,
        tx: &mut Tx,
        rollout: Rollout,
    ) -> Result<Looked, StoreError> {
        let seen = read_seen(tx, &rollout).await?;
        let mut waits_for = None;
        if rollout.state.is_active() {
            let fleet = self.registry().snapshot();
            if let Verdict::Hold(hold) = verdict(&rollout, &seen, &fleet, self.clock().now()) {
                waits_for = Some(waiting_text(&rollout, &hold));
            }
            if self.inner.names.load().splits.contains(&rollout.model) {
                waits_for = Some(format!(
                    "the configuration divides the callers of {} now, and comes first: take its split out, or abort the roll-out",
                    rollout.name
                ));
            }
        }
        let kind = match rollout.fault {
            Some(FaultKind::Slow) => "slow",
            Some(FaultKind::Errors) | None => "failed",
        };
        let shown = match rollout.stage {
            Some(stage) => store::list_requests(tx, (rollout.id, stage, kind)).await?,
            None => Vec::new(),
        };
        Ok(Looked {
            rollout,
            seen,
            shown,
            waits_for,
        })
    }
}
