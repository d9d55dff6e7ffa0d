//! How many nodes more a model should be in memory of, by how much is asked of it: quick to add one, slow to take one away.

use std::time::Duration;

use primitives::Timestamp;

/// What is asked of a model at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelDemand {
    /// Calls that run on it and wait for it on the average, on all nodes together.
    pub calls: f64,
    /// Nodes that have it in memory.
    pub loaded: u32,
}

/// When nodes are added and taken away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DemandRule {
    /// A node is added when there are more calls than this for each that has the model, all the time for `rise`. 4 by default.
    pub calls_for_each: f64,
    /// How long the demand must last until a node is added. 2 min by default.
    pub rise: Duration,
    /// How long one node less would have to do with half of that until one is taken away. 30 min by default.
    pub fall: Duration,
}

impl Default for DemandRule {
    fn default() -> Self {
        Self {
            calls_for_each: 4.0,
            rise: Duration::from_mins(2),
            fall: Duration::from_mins(30),
        }
    }
}

/// What is remembered of the demand for a model between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DemandState {
    /// Nodes beyond the least that should have it in memory.
    pub extra: u32,
    /// Since when there was too much to do, at each look.
    pub high_since: Option<Timestamp>,
    /// Since when there was little to do, at each look.
    pub low_since: Option<Timestamp>,
}

impl DemandState {
    /// Returns the state after a look: `least` nodes have the model without any demand, `most` with the highest. One step at a time; each
    /// step begins to wait anew.
    #[must_use]
    pub fn after(
        self,
        demand: ModelDemand,
        (least, most): (u32, u32),
        rule: &DemandRule,
        now: Timestamp,
    ) -> Self {
        let room = most.saturating_sub(least);
        let extra = self.extra.min(room);
        let wanted = f64::from(least.saturating_add(extra).max(1));
        let is_high = demand.calls > rule.calls_for_each * wanted;
        let is_low = extra > 0 && demand.calls <= rule.calls_for_each / 2.0 * (wanted - 1.0);
        let high_since = is_high.then(|| self.high_since.unwrap_or(now));
        let low_since = is_low.then(|| self.low_since.unwrap_or(now));
        let lasted = |since: Option<Timestamp>, time| since.is_some_and(|at| now.since(at) >= time);
        // What was added must be there before it can turn out not to be enough.
        let is_there = demand.loaded >= least.saturating_add(extra);
        if extra < room && is_there && lasted(high_since, rule.rise) {
            return Self {
                extra: extra + 1,
                ..Self::default()
            };
        }
        if lasted(low_since, rule.fall) {
            return Self {
                extra: extra.saturating_sub(1),
                ..Self::default()
            };
        }
        Self {
            extra,
            high_since,
            low_since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_micros(minutes * 60_000_000)
    }

    /// Looks once a minute and returns the extra nodes after each look.
    fn extras(calls: &[f64]) -> Vec<u32> {
        let mut state = DemandState::default();
        let looks = calls.iter().zip(0..);
        looks
            .map(|(calls, minute)| {
                let demand = ModelDemand {
                    calls: *calls,
                    loaded: 1 + state.extra,
                };
                state = state.after(demand, (1, 3), &DemandRule::default(), at(minute));
                state.extra
            })
            .collect()
    }

    #[test]
    fn a_demand_that_lasts_adds_a_node_and_a_peak_does_not() {
        assert_eq!(extras(&[9.0, 1.0, 9.0, 9.0, 1.0]), [0; 5]);
        assert_eq!(extras(&[9.0, 9.0, 9.0, 9.0]), [0, 0, 1, 1]);
        let long = extras(&[100.0; 12]);
        assert_eq!(long.last(), Some(&2), "never beyond the most: {long:?}");
    }

    #[test]
    fn a_node_goes_only_after_a_long_quiet() {
        let mut calls = vec![9.0; 3];
        calls.extend([0.0; 30]);
        calls.push(9.0);
        calls.extend([0.0; 31]);
        let extras = extras(&calls);
        assert_eq!(extras[32], 1, "29 minutes are not 30");
        assert_eq!(extras[33], 1, "one call more begins the wait anew");
        assert_eq!(extras.last(), Some(&0));
    }

    #[test]
    fn what_was_added_must_be_there_before_more_is() {
        let rule = DemandRule::default();
        let demand = ModelDemand {
            calls: 100.0,
            loaded: 1,
        };
        let state = DemandState {
            extra: 1,
            high_since: Some(at(0)),
            low_since: None,
        };
        assert_eq!(state.after(demand, (1, 3), &rule, at(9)).extra, 1);
    }
}
