//! How long a node stays with the models it has while calls for another one wait.

use std::time::Duration;

use primitives::MonotonicTime;

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

    /// Notes whether calls wait for models that the node has not loaded: from then on the hold of the loaded one counts down, and
    /// it counts no more when nobody waits.
    pub fn contest(&mut self, others_wait: bool, now: MonotonicTime) {
        if others_wait {
            self.contested.get_or_insert((now, 0));
        } else {
            self.contested = None;
        }
    }

    /// Tells whether calls for another model wait.
    pub const fn is_contested(&self) -> bool {
        self.contested.is_some()
    }

    /// Decides for a call that waits for another model than the loaded one. `in_flight` counts the calls that run on the loaded
    /// model, `waiting` those that wait for it. A hold that nobody [contested](Self::contest) begins now.
    pub fn may_swap(
        &self,
        rule: HoldRule,
        in_flight: u32,
        waiting: u32,
        now: MonotonicTime,
    ) -> SwapVerdict {
        let (since, calls) = self.contested.unwrap_or((now, 0));
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

#[cfg(test)]
mod tests {
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
            hold.contest(waiting[other] > 0, now);
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
        hold.contest(true, at(0));
        assert_eq!(hold.may_swap(rule, 1, 5, at(0)), SwapVerdict::Generating);
        assert!(matches!(
            hold.may_swap(rule, 0, 5, at(1)),
            SwapVerdict::Held(_)
        ));
        assert!(!hold.is_spent(rule, at(9_000)));
        assert!(hold.is_spent(rule, at(10_000)));
        assert_eq!(hold.may_swap(rule, 0, 5, at(10_000)), SwapVerdict::Now);
        hold.swapped();
        hold.contest(true, at(10_000));
        for _ in 0..16 {
            hold.started(at(10_500));
        }
        assert_eq!(hold.may_swap(rule, 0, 1, at(10_501)), SwapVerdict::Now);
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
    fn who_went_away_takes_the_contest_along() {
        let (rule, mut hold) = (HoldRule::default(), ModelHold::default());
        hold.started(at(0));
        hold.contest(true, at(0));
        hold.contest(false, at(1_000));
        assert!(!hold.is_spent(rule, at(60_000)));
        hold.contest(true, at(60_000));
        hold.started(at(60_001));
        assert!(
            matches!(hold.may_swap(rule, 0, 3, at(60_002)), SwapVerdict::Held(_)),
            "the next one waits its own time"
        );
    }

    #[test]
    fn a_clock_that_goes_back_neither_panics_nor_swaps_early() {
        let (rule, mut hold) = (HoldRule::default(), ModelHold::default());
        hold.started(at(50_000));
        hold.contest(true, at(50_000));
        assert!(matches!(
            hold.may_swap(rule, 0, 2, at(10)),
            SwapVerdict::Held(_)
        ));
        assert!(!hold.is_spent(rule, at(10)));
    }
}
