//! How a duration was distributed, to within a few per cent.

use std::collections::BTreeMap;

/// Steps in which a value doubles: neighbouring ones differ by 4.4 %.
const STEPS: f64 = 16.0;

/// Counts of durations in steps that grow by the same factor. At most 1,025 steps are in use, whatever comes.
#[derive(Clone, Debug, Default)]
pub(super) struct Distribution {
    steps: BTreeMap<u16, u32>,
    count: u64,
}

impl Distribution {
    /// Counts a duration in microseconds.
    pub(super) fn add(&mut self, us: u64) {
        let step = ((us.max(1) as f64).log2() * STEPS) as u16;
        let count = self.steps.entry(step).or_default();
        *count = count.saturating_add(1);
        self.count += 1;
    }

    /// Adds what another one has counted.
    pub(super) fn merge(&mut self, other: &Self) {
        for (step, more) in &other.steps {
            let count = self.steps.entry(*step).or_default();
            *count = count.saturating_add(*more);
        }
        self.count += other.count;
    }

    /// Returns the microseconds below which `share` (0 to 1) of the durations lie, by the nearest rank; `None` when there are none.
    pub(super) fn quantile(&self, share: f64) -> Option<u64> {
        let rank = ((share * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (step, count) in &self.steps {
            seen += u64::from(*count);
            if seen >= rank {
                // Who did not wait at all did not wait for a microsecond either.
                if *step == 0 {
                    return Some(0);
                }
                return Some(((f64::from(*step) + 0.5) / STEPS).exp2() as u64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_a_few_per_cent() {
        let mut all = Distribution::default();
        assert_eq!(all.quantile(0.5), None);
        for us in 1..=10_000_u64 {
            let mut one = Distribution::default();
            one.add(us * 100);
            all.merge(&one);
        }
        for (share, exact) in [
            (0.5, 500_000.0),
            (0.99, 990_000.0),
            (0.0, 100.0),
            (1.0, 1_000_000.0),
        ] {
            let found = all.quantile(share).unwrap() as f64;
            assert!((found / exact - 1.0).abs() < 0.045, "{share}: {found}");
        }
        all.add(u64::MAX);
        assert!(all.quantile(1.0).unwrap() > u64::MAX / 2);
        let mut none = Distribution::default();
        none.add(0);
        assert_eq!(none.quantile(0.5), Some(0));
    }
}
