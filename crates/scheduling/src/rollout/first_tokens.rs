//! Times to the first token, counted in bins of equal ratio, so that counts of several processes can be added up.

use std::collections::BTreeMap;
use std::time::Duration;

/// Bins for each doubling: the middle of a bin is at most 4.5 % off (the idea of the quantile sketch of Masson, Rim and Lee, 2019).
const FOR_EACH_DOUBLING: f64 = 8.0;
/// What lies in the first bin, in microseconds, at most.
const FIRST_US: f64 = 1_000.0;
/// The last bin: from about 17 minutes on.
pub const LAST_BIN: u16 = 160;

/// How often the first token took how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstTokens(BTreeMap<u16, u64>);

/// Returns the upper edge of a bin in microseconds.
fn edge(bin: u16) -> f64 {
    FIRST_US * (f64::from(bin) / FOR_EACH_DOUBLING).exp2()
}

impl FirstTokens {
    /// Returns the bin of a time.
    pub fn bin_of(took: Duration) -> u16 {
        let doublings = (took.as_micros() as f64 / FIRST_US).max(1.0).log2();
        // What is at an edge belongs below it, whatever the last digit of the logarithm.
        let bin = (doublings * FOR_EACH_DOUBLING - 1e-9).ceil();
        bin.clamp(0.0, f64::from(LAST_BIN)) as u16
    }

    /// Counts times in a bin; those beyond the last bin are in it.
    pub fn count(&mut self, bin: u16, times: u64) {
        let count = self.0.entry(bin.min(LAST_BIN)).or_default();
        *count = count.saturating_add(times);
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (bin, times) in &other.0 {
            self.count(*bin, *times);
        }
    }

    /// Returns how many times were counted.
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Returns the median, within 4.5 %; nothing where nothing was counted.
    pub fn median(&self) -> Option<Duration> {
        let half = self.total().div_ceil(2);
        let mut seen = 0;
        let (bin, _) = self.0.iter().find(|(_, times)| {
            seen += **times;
            seen >= half && half > 0
        })?;
        let middle = match *bin {
            0 => FIRST_US / 2.0,
            bin => (edge(bin - 1) * edge(bin)).sqrt(),
        };
        Some(Duration::from_micros(middle as u64))
    }

    /// Returns how many times were certainly longer.
    pub fn longer_than(&self, limit: Duration) -> u64 {
        let limit = limit.as_micros() as f64;
        let longer = self.0.iter().filter(|(bin, _)| match **bin {
            0 => false,
            bin => edge(bin - 1) >= limit,
        });
        longer.map(|(_, times)| times).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(times: &[u64]) -> FirstTokens {
        let mut counted = FirstTokens::default();
        for us in times {
            counted.count(FirstTokens::bin_of(Duration::from_micros(*us)), 1);
        }
        counted
    }

    #[test]
    fn the_median_is_that_of_all_who_counted() {
        assert_eq!(FirstTokens::default().median(), None);
        let mut all = counted(&[100_000, 200_000]);
        all.add(&counted(&[200_000, 900_000, 4_000_000]));
        assert_eq!(all.total(), 5);
        let median = all.median().unwrap().as_secs_f64();
        assert!((0.19..=0.21).contains(&median), "{median}");
        assert_eq!(all.longer_than(Duration::from_millis(500)), 2);
        assert_eq!(FirstTokens::bin_of(Duration::from_hours(9)), LAST_BIN);
    }

    proptest! {
        #[test]
        fn a_median_is_within_its_promise(mut times in prop::collection::vec(2_000_u64..900_000_000, 1..200)) {
            let median = counted(&times).median().unwrap().as_micros() as f64;
            times.sort_unstable();
            let exact = times[times.len().div_ceil(2) - 1] as f64;
            prop_assert!((median / exact - 1.0).abs() < 0.046, "{median} for {exact}");
        }
    }
}
