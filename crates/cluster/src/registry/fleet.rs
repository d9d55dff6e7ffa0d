//! All nodes in memory. No I/O: the registry feeds it rows, answers and failures, and takes snapshots out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use primitives::{MonotonicTime, NodeId, Timestamp};
use scheduling::{LivenessEvent, ProbeFailure, is_mass_failure};

use super::CallFailure;
use super::entry::Entry;
use crate::agents::AgentSeats;
use crate::model::{ModelView, NodeKind, NodeView};
use crate::probe::learned::Learned;
use crate::record::NodeRecord;
use crate::rollouts::RolloutSplit;
use crate::snapshot::FleetSnapshot;

/// Deaths this recent count as "at once".
const AT_ONCE: Duration = Duration::from_mins(5);

/// How a row differs from what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Not at all, or in nothing that a probe depends on.
    Kept,
    /// It is new, or stands elsewhere now.
    Probe,
}

/// Whether a node should be looked at before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    Wait,
    Now,
}

/// All nodes with everything known about them.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    entries: BTreeMap<NodeId, Entry>,
    embedded: Option<Arc<NodeView>>,
    agents: AgentSeats,
    rollouts: Arc<[RolloutSplit]>,
    generation: u64,
    membership_changed: bool,
    sparing: bool,
}

impl Fleet {
    /// Makes an empty fleet whose agents sit there.
    pub(super) fn new(agents: AgentSeats) -> Self {
        Self {
            agents,
            ..Self::default()
        }
    }

    /// Takes over a row.
    pub(super) fn put(&mut self, record: NodeRecord) -> Change {
        let agent = if record.settings.kind == NodeKind::Agent {
            Some(self.agents.seat(record.id))
        } else {
            self.agents.remove(record.id);
            None
        };
        let Some(entry) = self.entries.get_mut(&record.id) else {
            self.entries.insert(record.id, Entry::new(record, agent));
            self.membership_changed = true;
            return Change::Probe;
        };
        if entry.replace_record(record, agent) {
            Change::Probe
        } else {
            Change::Kept
        }
    }

    /// Forgets a node. Requests in flight keep what they hold.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.agents.remove(id);
        self.membership_changed |= self.entries.remove(&id).is_some();
    }

    /// Lists the rows.
    pub(super) fn records(&self) -> impl Iterator<Item = &NodeRecord> {
        self.entries.values().map(Entry::record)
    }

    /// Finds a row by id.
    pub(super) fn find(&self, id: NodeId) -> Option<&NodeRecord> {
        self.entries.get(&id).map(Entry::record)
    }

    /// Shows the embedded engine with these models.
    pub(super) fn set_embedded(&mut self, view: NodeView) {
        let same = self
            .embedded
            .as_ref()
            .is_some_and(|present| present.models == view.models);
        if !same {
            self.embedded = Some(Arc::new(view));
            self.membership_changed = true;
        }
    }

    /// Shows the splits of roll-outs.
    pub(super) fn set_rollouts(&mut self, rollouts: Arc<[RolloutSplit]>) {
        if self.rollouts != rollouts {
            self.rollouts = rollouts;
            self.membership_changed = true;
        }
    }

    /// Takes note of an answered probe.
    pub(super) fn learned(
        &mut self,
        id: NodeId,
        learned: Learned,
        now: MonotonicTime,
        civil: Timestamp,
    ) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.activity.seen(civil);
            entry.learn(learned, now);
        }
    }

    /// Takes note of a failed probe.
    pub(super) fn probe_failed(
        &mut self,
        id: NodeId,
        failure: ProbeFailure,
        error: &str,
        now: MonotonicTime,
    ) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.observe(LivenessEvent::ProbeFailed(failure), now);
            entry.fail(error);
        }
    }

    /// Takes note of a call that failed at a node.
    pub(super) fn call_failed(
        &mut self,
        id: NodeId,
        model: &str,
        failure: CallFailure,
        now: MonotonicTime,
    ) -> Urgency {
        let Some(entry) = self.entries.get_mut(&id) else {
            return Urgency::Wait;
        };
        match failure {
            CallFailure::Connect => {
                entry.observe(LivenessEvent::ProbeFailed(ProbeFailure::Unreachable), now);
                Urgency::Now
            }
            CallFailure::Unanswered => {
                entry.observe(LivenessEvent::CallUnanswered, now);
                entry.doubt(model);
                match entry.wanted_check(now) {
                    Some(_) => Urgency::Now,
                    None => Urgency::Wait,
                }
            }
        }
    }

    /// Returns what to check a node with when only a one-token check can decide.
    pub(super) fn wanted_check(
        &mut self,
        id: NodeId,
        now: MonotonicTime,
    ) -> Option<(NodeKind, ModelView)> {
        self.entries.get_mut(&id)?.wanted_check(now)
    }

    /// Takes note of a one-token check.
    pub(super) fn checked(&mut self, id: NodeId, event: LivenessEvent, now: MonotonicTime) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.observe(event, now);
        }
    }

    /// Judges all nodes again. Returns a snapshot when it differs from the one before.
    pub(super) fn refresh(&mut self, now: MonotonicTime) -> Option<FleetSnapshot> {
        let mut freshly_dead = 0;
        let mut known = 0;
        let mut verdicts = Vec::with_capacity(self.entries.len());
        for entry in self.entries.values_mut() {
            let verdict = entry.judge(now);
            let fresh = entry
                .died_at()
                .is_some_and(|died| now.since(died) <= AT_ONCE)
                && entry.was_alive();
            freshly_dead += usize::from(fresh);
            known += usize::from(fresh || entry.died_at().is_none());
            verdicts.push((verdict, fresh));
        }
        let sparing = is_mass_failure(freshly_dead, known);
        if sparing != self.sparing {
            self.sparing = sparing;
            if sparing {
                tracing::warn!(
                    dead = freshly_dead,
                    nodes = known,
                    "most nodes look dead at once: the fault may be on this side, so they stay in use"
                );
            } else {
                tracing::info!("most nodes answer again, or stayed dead: judging each by itself");
            }
        }
        let mut changed = std::mem::take(&mut self.membership_changed);
        for (entry, (verdict, fresh)) in self.entries.values_mut().zip(verdicts) {
            let before = entry.view().map(|view| view.state.clone());
            if entry.refresh(verdict, sparing && fresh) {
                changed = true;
                report_transition(entry, before.as_ref());
            }
        }
        changed.then(|| self.snapshot())
    }

    fn snapshot(&mut self) -> FleetSnapshot {
        self.generation += 1;
        let views = self
            .entries
            .values()
            .filter_map(Entry::view)
            .chain(&self.embedded)
            .map(Arc::clone)
            .collect();
        FleetSnapshot::new(self.generation, views).with_rollouts(Arc::clone(&self.rollouts))
    }
}

fn report_transition(entry: &Entry, before: Option<&crate::NodeState>) {
    let Some(view) = entry.view() else { return };
    let same = before.is_some_and(|before| before.as_str() == view.state.as_str());
    if same || matches!(view.state, crate::NodeState::New) {
        return;
    }
    let (node, state, models) = (&*view.name, view.state.as_str(), view.models.len());
    if let Some(reason) = view.state.reason() {
        tracing::warn!(node, state, reason, "node changed");
    } else {
        tracing::info!(
            node,
            state,
            kind = view.kind.as_str(),
            models,
            "node changed"
        );
    }
}

#[cfg(test)]
mod tests {
    use scheduling::Health;

    use super::*;
    use crate::model::{NodeSource, NodeState, ServerFlavour};
    use crate::probe::detect::Found;
    use crate::spec::NodeSpec;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_micros(seconds * 1_000_000)
    }

    struct Bench {
        fleet: Fleet,
        snapshot: FleetSnapshot,
    }

    impl Bench {
        fn of(names: &[&str]) -> Self {
            let mut bench = Self {
                fleet: Fleet::default(),
                snapshot: FleetSnapshot::default(),
            };
            for name in names {
                bench.fleet.put(record(name));
            }
            bench.refresh(0);
            bench
        }

        fn id(&self, name: &str) -> NodeId {
            self.snapshot.find_node_named(name).unwrap().id
        }

        fn refresh(&mut self, seconds: u64) -> bool {
            match self.fleet.refresh(at(seconds)) {
                Some(snapshot) => {
                    self.snapshot = snapshot;
                    true
                }
                None => false,
            }
        }

        fn answer(&mut self, name: &str, models: &[&str], seconds: u64) -> bool {
            let id = self.id(name);
            self.fleet
                .learned(id, learned(models), at(seconds), Timestamp::from_micros(1));
            self.refresh(seconds)
        }

        fn fail(&mut self, name: &str, failure: ProbeFailure, seconds: u64) {
            let id = self.id(name);
            self.fleet
                .probe_failed(id, failure, "no answer", at(seconds));
            self.refresh(seconds);
        }

        fn state(&self, name: &str) -> &NodeState {
            &self.snapshot.find_node_named(name).unwrap().state
        }
    }

    fn record(name: &str) -> NodeRecord {
        NodeRecord {
            id: NodeId::generate(Timestamp::from_micros(1)),
            settings: NodeSpec::new(name, format!("http://{name}:1"))
                .check()
                .unwrap(),
            source: NodeSource::Api,
            draining: false,
            created_at: Timestamp::from_micros(1),
            updated_at: Timestamp::from_micros(1),
        }
    }

    fn learned(models: &[&str]) -> Learned {
        Learned {
            found: Found {
                kind: NodeKind::Ollama,
                server: ServerFlavour::Ollama,
            },
            version: None,
            models: models.iter().map(|name| ModelView::named(*name)).collect(),
            slots: None,
            pressure: None,
        }
    }

    #[test]
    fn a_snapshot_is_made_only_when_something_changed() {
        let mut bench = Bench::of(&["a"]);
        assert_eq!(bench.state("a"), &NodeState::New);
        assert!(bench.answer("a", &["m"], 1));
        let generation = bench.snapshot.generation;
        assert!(
            !bench.answer("a", &["m"], 11),
            "an equal answer changes nothing"
        );
        assert!(bench.answer("a", &["m", "n"], 21));
        assert_eq!(bench.snapshot.generation, generation + 1);
        assert_eq!(bench.snapshot.replicas("N:latest").len(), 1);
    }

    #[test]
    fn one_dead_node_of_three_is_dead() {
        let mut bench = Bench::of(&["a", "b", "c"]);
        for name in ["a", "b", "c"] {
            bench.answer(name, &["m"], 1);
        }
        bench.fail("a", ProbeFailure::Unreachable, 10);
        assert_eq!(bench.state("a").as_str(), "suspect");
        bench.fail("a", ProbeFailure::Unreachable, 20);
        assert_eq!(bench.state("a").as_str(), "unhealthy");
        assert_eq!(bench.state("a").reason(), Some("no answer"));
        assert!(!bench.snapshot.find_node_named("a").unwrap().is_routable());
        assert_eq!(
            bench.snapshot.replicas("m").len(),
            3,
            "its models stay listed"
        );
    }

    #[test]
    fn when_most_nodes_look_dead_at_once_they_stay_in_use_for_a_while() {
        let mut bench = Bench::of(&["a", "b", "c"]);
        for name in ["a", "b", "c"] {
            bench.answer(name, &["m"], 1);
        }
        for name in ["a", "b"] {
            bench.fail(name, ProbeFailure::Unreachable, 10);
            bench.fail(name, ProbeFailure::Unreachable, 20);
        }
        for name in ["a", "b"] {
            assert!(bench.snapshot.find_node_named(name).unwrap().is_routable());
            let reason = bench.state(name).reason().unwrap();
            assert!(reason.contains("the fault may be here"), "{reason}");
        }
        bench.refresh(20 + AT_ONCE.as_secs() + 1);
        assert_eq!(bench.state("a").as_str(), "unhealthy", "it really is dead");
    }

    #[test]
    fn nodes_that_never_answered_do_not_count_as_dying() {
        let mut bench = Bench::of(&["a", "typo1", "typo2"]);
        bench.answer("a", &["m"], 1);
        for name in ["typo1", "typo2"] {
            bench.fail(name, ProbeFailure::Unreachable, 1);
            assert_eq!(bench.state(name).as_str(), "unhealthy");
        }
    }

    #[test]
    fn progress_of_a_stream_keeps_a_silent_node_alive() {
        let mut bench = Bench::of(&["a"]);
        bench.answer("a", &["m"], 1);
        let activity = Arc::clone(&bench.snapshot.find_node_named("a").unwrap().activity);
        let call = activity.begin(100);
        for seconds in [10, 20, 30, 40] {
            activity.progressed(at(seconds));
            bench.fail("a", ProbeFailure::TimedOut, seconds);
        }
        assert_eq!(bench.state("a"), &NodeState::Busy);
        drop(call);
        bench.refresh(100);
        assert_eq!(bench.state("a").as_str(), "unhealthy");
    }

    #[test]
    fn silence_with_calls_in_flight_is_death_where_servers_answer_while_they_work() {
        for (server, states) in [
            (
                ServerFlavour::LlamaServer,
                ["suspect", "unhealthy", "unhealthy"],
            ),
            (ServerFlavour::LlamaCppPython, ["busy", "busy", "unhealthy"]),
        ] {
            let mut bench = Bench::of(&["a"]);
            let id = bench.id("a");
            let mut told = learned(&["m"]);
            told.found = Found {
                kind: NodeKind::OpenAi,
                server,
            };
            bench
                .fleet
                .learned(id, told, at(1), Timestamp::from_micros(1));
            let activity = Arc::clone(&bench.snapshot.find_node_named("a").unwrap().activity);
            let _call = activity.begin(100);
            bench.fail("a", ProbeFailure::TimedOut, 11);
            bench.fail("a", ProbeFailure::TimedOut, 21);
            assert_eq!(bench.state("a").as_str(), states[0], "{server}");
            if let Some(reason) = bench.state("a").reason() {
                assert_eq!(reason, "probes time out while it works on calls");
            }
            bench.fail("a", ProbeFailure::TimedOut, 32);
            assert_eq!(bench.state("a").as_str(), states[1], "{server}");
            bench.fail("a", ProbeFailure::TimedOut, 190);
            assert_eq!(bench.state("a").as_str(), states[2], "{server}");
        }
    }

    #[test]
    fn unanswered_calls_lead_to_a_check_and_the_check_decides() {
        let mut bench = Bench::of(&["a", "b"]);
        bench.answer("a", &["m", "n"], 1);
        bench.answer("b", &["m"], 1);
        let id = bench.id("a");
        let call = |bench: &mut Bench| {
            bench
                .fleet
                .call_failed(id, "n", CallFailure::Unanswered, at(2))
        };
        assert_eq!(call(&mut bench), Urgency::Wait);
        assert_eq!(call(&mut bench), Urgency::Now);
        bench.refresh(2);
        assert_eq!(bench.state("a").as_str(), "suspect");
        assert!(bench.snapshot.find_node(id).unwrap().is_routable());
        let (_, model) = bench.fleet.wanted_check(id, at(3)).unwrap();
        assert_eq!(&*model.name, "n");
        bench.fleet.checked(id, LivenessEvent::CheckFailed, at(4));
        bench.refresh(4);
        let reason = bench.state("a").reason().unwrap();
        assert!(reason.contains("does not generate"), "{reason}");
        assert_eq!(bench.snapshot.find_node(id).unwrap().health, Health::Dead);
        bench.fleet.checked(id, LivenessEvent::CheckAnswered, at(5));
        bench.refresh(5);
        assert_eq!(bench.state("a"), &NodeState::Ready);
    }

    #[test]
    fn moving_a_node_forgets_what_stood_at_the_old_address() {
        let mut bench = Bench::of(&["a"]);
        bench.answer("a", &["m"], 1);
        let mut moved = bench.fleet.find(bench.id("a")).unwrap().clone();
        moved.settings.weight = 2.0;
        assert_eq!(bench.fleet.put(moved.clone()), Change::Kept);
        bench.refresh(2);
        assert_eq!(bench.snapshot.replicas("m").len(), 1);
        moved.settings.url = "http://elsewhere:1".parse().unwrap();
        assert_eq!(bench.fleet.put(moved), Change::Probe);
        bench.refresh(3);
        assert_eq!(bench.state("a"), &NodeState::New);
        assert!(bench.snapshot.replicas("m").is_empty());
    }

    #[test]
    fn a_draining_node_is_not_routable_and_says_so() {
        let mut bench = Bench::of(&["a"]);
        bench.answer("a", &["m"], 1);
        let mut record = bench.fleet.find(bench.id("a")).unwrap().clone();
        record.draining = true;
        bench.fleet.put(record);
        bench.refresh(2);
        assert_eq!(bench.state("a"), &NodeState::Draining);
        assert!(!bench.snapshot.find_node_named("a").unwrap().is_routable());
    }
}
