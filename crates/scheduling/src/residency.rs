//! Which model a node should hold: no swap on every call, one load at a time per model, and loading ahead of need.
//!
//! Pure functions and small records; who loads and unloads is the caller's business.

use std::collections::HashMap;
use std::time::Duration;

use primitives::{MonotonicTime, NodeId};

/// How long a node stays with the model it has while calls for another one wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldRule {
    /// Calls started for the loaded model, after the other one began to wait.
    pub calls: u32,
    /// Time since the other one began to wait.
    pub time: Duration,
    /// Time without a call after which the loaded model is given up at once. About what loading takes: waiting that long for the
    /// next call never costs more than twice what knowing the future would (the ski-rental rule).
    pub linger: Duration,
}

impl Default for HoldRule {
    fn default() -> Self {
        Self {
            calls: 16,
            time: Duration::from_secs(10),
            linger: Duration::from_secs(2),
        }
    }
}

/// Whether a node may give up a model it has for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapVerdict {
    /// Now.
    Now,
    /// The model generates: it is never driven out before it is done.
    Generating,
    /// Calls for the loaded model are served together first, at most for this time.
    Held(Duration),
}

/// Groups the calls of a node by model: two clients that alternate between two models share swaps instead of causing one each.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelHold {
    /// Since when a call for another model waits, and how many calls were started for the loaded one since.
    contested: Option<(MonotonicTime, u32)>,
    last_start: Option<MonotonicTime>,
}

impl ModelHold {
    /// Notes that a call was started for the loaded model.
    pub const fn started(&mut self, now: MonotonicTime) {
        self.last_start = Some(now);
        if let Some((_, calls)) = &mut self.contested {
            *calls += 1;
        }
    }

    /// Notes that another model was loaded in its place.
    pub const fn swapped(&mut self) {
        self.contested = None;
    }

    /// Decides for a call that waits for another model than the loaded one. `in_flight` counts the calls that run on the loaded
    /// model, `waiting` those that wait for it.
    pub fn may_swap(
        &mut self,
        rule: HoldRule,
        in_flight: u32,
        waiting: u32,
        now: MonotonicTime,
    ) -> SwapVerdict {
        let (since, calls) = *self.contested.get_or_insert((now, 0));
        let waited = now.since(since);
        if in_flight > 0 {
            return SwapVerdict::Generating;
        }
        let idle = self.last_start.map_or(rule.linger, |at| now.since(at));
        if calls >= rule.calls || waited >= rule.time || (waiting == 0 && idle >= rule.linger) {
            return SwapVerdict::Now;
        }
        let held = rule.time.saturating_sub(waited);
        SwapVerdict::Held(if waiting == 0 {
            held.min(rule.linger.saturating_sub(idle))
        } else {
            held
        })
    }

    /// Tells whether the loaded model has had its share while another one waits: no further call may start on it, so that its
    /// running calls come to an end.
    pub fn is_spent(&self, rule: HoldRule, now: MonotonicTime) -> bool {
        self.contested
            .is_some_and(|(since, calls)| calls >= rule.calls || now.since(since) >= rule.time)
    }
}

/// The loads under way over the fleet, by model: a second call for a model waits for the first one's load.
#[derive(Clone, Debug, Default)]
pub struct ColdLoads {
    loads: HashMap<String, (NodeId, MonotonicTime)>,
}

/// A load that nobody reported back for this time is taken for lost.
const LOST_LOAD: Duration = Duration::from_mins(10);

impl ColdLoads {
    /// Asks to load `model` on `node`. Returns the node where it is being loaded already, if there is one; otherwise the load is
    /// the caller's, who must report it [done](Self::done).
    pub fn begin(&mut self, model: &str, node: NodeId, now: MonotonicTime) -> Option<NodeId> {
        if let Some((at, since)) = self.loads.get(model)
            && now.since(*since) < LOST_LOAD
        {
            return Some(*at);
        }
        self.loads.insert(model.to_owned(), (node, now));
        None
    }

    /// Ends a load, whether it went well or not.
    pub fn done(&mut self, model: &str, node: NodeId) {
        if self.loads.get(model).is_some_and(|(at, _)| *at == node) {
            self.loads.remove(model);
        }
    }

    /// Returns where a model is being loaded.
    pub fn loading(&self, model: &str) -> Option<NodeId> {
        self.loads.get(model).map(|(node, _)| *node)
    }
}

/// What [`prewarm`] needs to know of a model's demand.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Calls that wait for the model.
    pub waiting: u32,
    /// Copies that are loaded.
    pub loaded: u32,
    /// Whether a copy is being loaded.
    pub loading: bool,
    /// How long the waiting calls will probably take with the copies there are.
    pub expected_wait: Duration,
    /// How long loading one more copy takes.
    pub load_time: Duration,
}

/// Calls that must wait before another copy is worth loading.
const PREWARM_WAITING: u32 = 3;

/// Tells whether one more copy of a model should be loaded before anybody is sent to it: when the line is longer than the load
/// takes. One at a time.
pub fn prewarm(demand: &Demand) -> bool {
    !demand.loading
        && demand.waiting >= PREWARM_WAITING
        && (demand.loaded == 0 || demand.expected_wait > demand.load_time)
}

/// Returns the context to ask for when a client asks for `asked` and the model is loaded with `loaded`: the loaded one when
/// everything fits into it, so that the model is not loaded again (a smaller window is never given silently).
pub const fn context_to_ask(asked: u32, loaded: u32) -> u32 {
    if asked <= loaded { loaded } else { asked }
}

#[cfg(test)]
mod tests {
    use primitives::Timestamp;

    use super::*;

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::from_micros(millis * 1_000)
    }

    /// Two clients alternate between two models on one node, one call each per 100 ms; returns how often the node swaps.
    fn swaps_of_alternating_clients(rule: HoldRule, seconds: u64) -> u32 {
        let (mut loaded, mut hold) = (0_usize, ModelHold::default());
        let mut waiting = [0_u32; 2];
        let mut swaps = 0;
        for step in 0..seconds * 10 {
            let now = at(step * 100);
            waiting[step as usize % 2] += 1;
            let other = 1 - loaded;
            if waiting[other] > 0
                && hold.may_swap(rule, 0, waiting[loaded], now) == SwapVerdict::Now
            {
                loaded = other;
                swaps += 1;
                hold.swapped();
            }
            if waiting[loaded] > 0 {
                waiting[loaded] -= 1;
                hold.started(now);
            }
        }
        swaps
    }

    #[test]
    fn alternating_clients_share_swaps() {
        let alternating = HoldRule {
            calls: 0,
            time: Duration::ZERO,
            linger: Duration::ZERO,
        };
        let without = swaps_of_alternating_clients(alternating, 60);
        let with = swaps_of_alternating_clients(HoldRule::default(), 60);
        assert!(without > 250, "{without}");
        assert!((2..=40).contains(&with), "{with}");
    }

    #[test]
    fn a_generating_model_is_never_driven_out_and_no_call_waits_for_ever() {
        let rule = HoldRule::default();
        let mut hold = ModelHold::default();
        assert_eq!(hold.may_swap(rule, 1, 5, at(0)), SwapVerdict::Generating);
        assert!(matches!(
            hold.may_swap(rule, 0, 5, at(1)),
            SwapVerdict::Held(_)
        ));
        assert!(!hold.is_spent(rule, at(9_000)));
        assert!(hold.is_spent(rule, at(10_000)));
        assert_eq!(hold.may_swap(rule, 0, 5, at(10_000)), SwapVerdict::Now);
        hold.swapped();
        for _ in 0..16 {
            hold.started(at(10_500));
        }
        assert!(matches!(
            hold.may_swap(rule, 0, 1, at(11_000)),
            SwapVerdict::Held(_)
        ));
        for _ in 0..16 {
            hold.started(at(11_000));
        }
        assert_eq!(hold.may_swap(rule, 0, 1, at(11_001)), SwapVerdict::Now);
    }

    #[test]
    fn an_idle_model_is_given_up_after_a_moment() {
        let (rule, mut hold) = (HoldRule::default(), ModelHold::default());
        assert_eq!(
            hold.may_swap(rule, 0, 0, at(0)),
            SwapVerdict::Now,
            "never used"
        );
        hold.started(at(1_000));
        let rest = SwapVerdict::Held(Duration::from_millis(1_500));
        assert_eq!(hold.may_swap(rule, 0, 0, at(1_500)), rest);
        assert_eq!(hold.may_swap(rule, 0, 0, at(3_000)), SwapVerdict::Now);
    }

    #[test]
    fn a_model_is_loaded_once_however_many_ask() {
        let (a, b) = (
            NodeId::generate(Timestamp::from_micros(1)),
            NodeId::generate(Timestamp::from_micros(2)),
        );
        let mut loads = ColdLoads::default();
        assert_eq!(loads.begin("m", a, at(0)), None);
        assert_eq!(loads.begin("m", b, at(5)), Some(a));
        assert_eq!(loads.begin("n", b, at(5)), None);
        loads.done("m", b);
        assert_eq!(loads.loading("m"), Some(a), "only the loader ends it");
        loads.done("m", a);
        assert_eq!(loads.begin("m", b, at(9)), None);
        assert_eq!(loads.begin("m", a, at(9 + 600_000)), None, "lost");
    }

    #[test]
    fn another_copy_is_loaded_when_the_line_is_longer_than_the_load() {
        let demand = Demand {
            waiting: 5,
            loaded: 1,
            loading: false,
            expected_wait: Duration::from_secs(30),
            load_time: Duration::from_secs(12),
        };
        assert!(prewarm(&demand));
        assert!(!prewarm(&Demand {
            waiting: 2,
            ..demand
        }));
        assert!(!prewarm(&Demand {
            loading: true,
            ..demand
        }));
        assert!(!prewarm(&Demand {
            load_time: Duration::from_mins(1),
            ..demand
        }));
        assert_eq!(context_to_ask(4_096, 8_192), 8_192);
        assert_eq!(context_to_ask(16_384, 8_192), 16_384);
    }
}
