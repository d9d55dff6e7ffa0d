//! How many calls one model on one node takes at a time: set by the operator, told by the node, or learned.

use primitives::MonotonicTime;
use serde::{Deserialize, Serialize};

/// Where the limit of calls in flight comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapacityRule {
    /// Set by the operator, or told by the node (its slots).
    Fixed(u32),
    /// Learned from how calls end: twice as many after a round of good ones at the limit until the first sign of saturation, then
    /// one more; a quarter less after an overload.
    #[default]
    Learned,
}

/// How a call ended, as far as capacity cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapacityOutcome {
    /// It was served.
    Served,
    /// The node was overloaded: it said so (429, 503), or timed out.
    Overloaded,
    /// It ended for another reason: says nothing about capacity.
    Other,
}

/// How much of a capacity a call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// All of it.
    Whole,
    /// All but a quarter, at least one place, if there are two, and not the fastest places: for an organisation that holds most of
    /// what runs, so that others find a good place at once.
    AllButHeadroom {
        /// Calls of all others that run.
        others: u32,
    },
}

/// Calls that a model nothing is known about takes at a time.
const FIRST_LIMIT: f32 = 4.0;
/// More than any one server takes.
const MAX_LIMIT: f32 = 1_024.0;
/// What is left of the limit after an overload.
const DECREASE: f32 = 0.75;
/// Calls that were sent together fail together: only one overload in this time counts.
const DECREASE_EVERY_US: u64 = 1_000_000;

/// The calls in flight of one (node, model) and their limit.
///
/// The learned limit grows as TCP's window does (Jacobson, "Congestion Avoidance and Control", 1988): slow start until the first
/// sign of saturation, then additive increase and multiplicative decrease. While a prompt that was sent is unread the limit does not
/// grow: where it waits for a slot, the next one would, too.
///
/// Prompts are counted apart from answers: servers read prompts one after the other, so a call sent behind an unread prompt
/// would wait at the node, where nobody can reorder it. It waits in the queue instead.
#[derive(Clone, Debug)]
pub struct Capacity {
    rule: CapacityRule,
    learned: f32,
    /// Whether no sign of saturation was seen yet.
    slow_start: bool,
    decreased_at: Option<MonotonicTime>,
    /// What a node that told of too much work takes, whatever the rule says.
    ceiling: Option<u32>,
    /// Whether it told so last.
    pressed: bool,
    in_flight: u32,
    pending_prompts: u32,
    pending_prompt_tokens: u64,
}

impl Capacity {
    /// Makes the capacity of a model on a node that nothing runs on.
    pub const fn new(rule: CapacityRule) -> Self {
        Self {
            rule,
            learned: FIRST_LIMIT,
            slow_start: true,
            decreased_at: None,
            ceiling: None,
            pressed: false,
            in_flight: 0,
            pending_prompts: 0,
            pending_prompt_tokens: 0,
        }
    }

    /// Replaces the rule; calls in flight stay counted.
    pub const fn set_rule(&mut self, rule: CapacityRule) {
        self.rule = rule;
    }

    /// Returns how many calls may be in flight: at least one.
    pub fn limit(&self) -> u32 {
        let limit = self.limit_by_rule();
        self.ceiling.map_or(limit, |ceiling| limit.min(ceiling))
    }

    const fn limit_by_rule(&self) -> u32 {
        match self.rule {
            CapacityRule::Fixed(0) => 1,
            CapacityRule::Fixed(limit) => limit,
            CapacityRule::Learned => self.learned as u32,
        }
    }

    /// Takes in that the node has more to do than it can at once: `waiting` calls wait there. It gets as many fewer from now on, and
    /// no more until it tells otherwise.
    pub fn press(&mut self, waiting: u32) {
        self.pressed = true;
        self.slow_start = false;
        self.ceiling = Some(self.in_flight.saturating_sub(waiting).max(1));
    }

    /// Takes in that the node has no more to do than it can at once. From now on it gets one call more for each that is served while
    /// there are as many as it takes.
    pub const fn relieve(&mut self) {
        self.pressed = false;
    }

    /// Returns how many calls are in flight.
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Returns the tokens of the prompts that were sent and are not read yet.
    pub const fn pending_prompt_tokens(&self) -> u64 {
        self.pending_prompt_tokens
    }

    /// Tells whether one more call would run at once. `prompt_budget` is how many unread prompt tokens a node may have in
    /// front of it: a fraction of a second's worth keeps it busy without a line forming there.
    pub fn has_room(&self, portion: Portion, prompt_budget: u64) -> bool {
        let limit = self.limit();
        let (limit, prompt_budget) = match portion {
            Portion::AllButHeadroom { .. } if limit > 1 => (limit - limit.div_ceil(4), 0),
            _ => (limit, prompt_budget),
        };
        self.in_flight < limit
            && (self.is_reading_none() || self.pending_prompt_tokens < prompt_budget)
    }

    /// Tells whether no prompt that was sent is unread.
    pub const fn is_reading_none(&self) -> bool {
        self.pending_prompts == 0
    }

    /// Counts a call that is sent. `prompt_tokens` is what has to be read; pass 0 when nobody will tell of the first token.
    pub const fn begin(&mut self, prompt_tokens: u64) {
        self.in_flight += 1;
        if prompt_tokens > 0 {
            self.pending_prompts += 1;
            self.pending_prompt_tokens += prompt_tokens;
        }
    }

    /// Notes that the prompt of a call was read: its first token is there, or it ended without one. Call it once per
    /// [`begin`](Self::begin) with the same number.
    pub const fn prompt_read(&mut self, prompt_tokens: u64) {
        if prompt_tokens > 0 {
            self.pending_prompts = self.pending_prompts.saturating_sub(1);
            self.pending_prompt_tokens = self.pending_prompt_tokens.saturating_sub(prompt_tokens);
        }
    }

    /// Ends a call.
    pub fn end(&mut self, outcome: CapacityOutcome, now: MonotonicTime) {
        let was_at_limit = self.in_flight >= self.limit();
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            CapacityOutcome::Served if self.ceiling.is_some() => {
                if was_at_limit && !self.pressed {
                    self.raise_ceiling();
                }
            }
            CapacityOutcome::Served if was_at_limit && self.is_reading_none() => {
                let more = if self.slow_start {
                    1.0
                } else {
                    1.0 / self.learned
                };
                self.learned = (self.learned + more).min(MAX_LIMIT);
            }
            CapacityOutcome::Overloaded => {
                let due = self
                    .decreased_at
                    .is_none_or(|at| now.since(at).as_micros() >= u128::from(DECREASE_EVERY_US));
                self.slow_start = false;
                if due {
                    self.learned = (self.learned * DECREASE).max(1.0);
                    self.decreased_at = Some(now);
                }
            }
            CapacityOutcome::Served | CapacityOutcome::Other => {}
        }
    }

    fn raise_ceiling(&mut self) {
        let limit = self.limit_by_rule();
        self.ceiling = self
            .ceiling
            .map(|ceiling| ceiling + 1)
            .filter(|raised| *raised < limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_micros(seconds * 1_000_000)
    }

    /// Serves `calls` calls with the limit always reached; a node that takes `real` refuses the others.
    fn press(capacity: &mut Capacity, real: u32, from: u64, calls: u64) {
        for n in from..from + calls {
            while capacity.has_room(Portion::Whole, u64::MAX) {
                capacity.begin(0);
            }
            let outcome = if capacity.in_flight() > real {
                CapacityOutcome::Overloaded
            } else {
                CapacityOutcome::Served
            };
            capacity.end(outcome, at(n));
        }
    }

    #[test]
    fn the_limit_settles_around_what_the_node_takes() {
        let mut capacity = Capacity::new(CapacityRule::Learned);
        press(&mut capacity, 16, 0, 4_000);
        assert!(
            (11..=17).contains(&capacity.limit()),
            "{}",
            capacity.limit()
        );
        press(&mut capacity, 2, 4_000, 4_000);
        assert!((1..=3).contains(&capacity.limit()), "{}", capacity.limit());
    }

    #[test]
    fn a_node_that_tells_of_waiting_calls_gets_as_many_fewer_until_it_is_relieved() {
        for rule in [CapacityRule::Fixed(64), CapacityRule::Learned] {
            let mut capacity = Capacity::new(rule);
            press(&mut capacity, 64, 0, 200);
            let before = capacity.limit();
            assert!(before > 20, "{before}");
            while capacity.in_flight() > 20 {
                capacity.end(CapacityOutcome::Other, at(250));
            }
            capacity.press(6);
            assert_eq!(capacity.limit(), 14);
            assert!(!capacity.has_room(Portion::Whole, 0));
            for _ in 0..20 {
                capacity.end(CapacityOutcome::Served, at(300));
            }
            assert_eq!(capacity.limit(), 14, "it has not said that it is better");
            capacity.relieve();
            press(&mut capacity, 64, 400, 5);
            assert_eq!(capacity.limit(), 19, "one more for each");
            press(&mut capacity, 64, 410, 100);
            assert!(capacity.limit() >= before, "{}", capacity.limit());
        }
        let mut idle = Capacity::new(CapacityRule::Fixed(8));
        idle.press(1_000);
        assert_eq!(
            idle.limit(),
            1,
            "never none: nobody would notice that it is better"
        );
    }

    #[test]
    fn a_node_with_many_slots_is_not_held_back() {
        let mut capacity = Capacity::new(CapacityRule::Learned);
        press(&mut capacity, 256, 0, 300);
        assert!(
            (180..=256).contains(&capacity.limit()),
            "twice as many a round: {}",
            capacity.limit()
        );
        let mut after = Capacity::new(CapacityRule::Learned);
        after.begin(0);
        after.end(CapacityOutcome::Overloaded, at(0));
        press(&mut after, 256, 1, 300);
        assert!(after.limit() < 40, "careful after an overload");
    }

    #[test]
    fn a_prompt_that_waits_for_a_slot_at_the_node_ends_the_growth() {
        // A server of 8 slots that never refuses: the ninth prompt is read when a call has ended.
        let mut capacity = Capacity::new(CapacityRule::Learned);
        for n in 0..2_000 {
            while capacity.has_room(Portion::Whole, 100) {
                let read = capacity.in_flight() < 8;
                capacity.begin(500);
                if read {
                    capacity.prompt_read(500);
                }
            }
            let one_waited = !capacity.is_reading_none();
            capacity.end(CapacityOutcome::Served, at(n));
            if one_waited {
                capacity.prompt_read(500);
            }
        }
        assert!((8..=9).contains(&capacity.limit()), "{}", capacity.limit());
    }

    #[test]
    fn a_burst_of_overloads_counts_once_and_an_idle_node_learns_nothing() {
        let mut capacity = Capacity::new(CapacityRule::Learned);
        for _ in 0..50 {
            capacity.begin(0);
            capacity.end(CapacityOutcome::Overloaded, at(5));
        }
        assert_eq!(capacity.limit(), 3);
        for _ in 0..1_000 {
            capacity.begin(0);
            capacity.end(CapacityOutcome::Served, at(6));
        }
        assert_eq!(capacity.limit(), 3);
    }

    #[test]
    fn an_unread_prompt_keeps_others_in_the_queue() {
        let mut capacity = Capacity::new(CapacityRule::Fixed(4));
        assert!(
            capacity.has_room(Portion::Whole, 100),
            "an idle node takes any prompt"
        );
        capacity.begin(50_000);
        assert!(!capacity.has_room(Portion::Whole, 100));
        capacity.prompt_read(50_000);
        assert!(capacity.has_room(Portion::Whole, 100));
        capacity.begin(60);
        assert!(
            capacity.has_room(Portion::Whole, 100),
            "a short prompt is no line"
        );
        assert!(!capacity.has_room(Portion::AllButHeadroom { others: 1 }, 100));
        capacity.set_rule(CapacityRule::Fixed(2));
        assert!(!capacity.has_room(Portion::Whole, 100));
    }
}
