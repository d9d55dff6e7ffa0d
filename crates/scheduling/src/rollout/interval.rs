//! How sure a share is that was counted.

/// Standard deviations that a bound is away: one-sided 99.87 %. Stricter than the usual 95 % because the same counts are looked at again
/// and again while they grow, and every look is another chance to be wrong.
const Z: f64 = 3.0;

/// Returns the bounds between which the true share lies of which `hits` of `of` were seen (E. B. Wilson, "Probable Inference, the Law of
/// Succession, and Statistical Inference", 1927). 0 to 1 when nothing was seen.
pub(super) fn wilson(hits: u64, of: u64) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (n, share) = (of as f64, hits.min(of) as f64 / of as f64);
    let square = Z * Z;
    let middle = share + square / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    let scale = 1.0 + square / n;
    let low = if hits == 0 {
        0.0
    } else {
        (middle - spread) / scale
    };
    let high = if hits >= of {
        1.0
    } else {
        (middle + spread) / scale
    };
    (low.clamp(0.0, 1.0), high.clamp(0.0, 1.0))
}

/// Returns the least by which one share is above another (R. G. Newcombe, "Interval estimation for the difference between independent
/// proportions", 1998, method 10); below 0 when it may not be above it.
pub(super) fn least_difference(one: (u64, u64), other: (u64, u64)) -> f64 {
    let share = |(hits, of): (u64, u64)| {
        if of == 0 {
            0.0
        } else {
            hits as f64 / of as f64
        }
    };
    let (above, below) = (share(one), share(other));
    let (low, _) = wilson(one.0, one.1);
    let (_, high) = wilson(other.0, other.1);
    (above - below) - ((above - low).powi(2) + (high - below).powi(2)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_lie_around_the_share_and_close_in_as_more_is_seen() {
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        let mut width = 1.0;
        for n in [10, 100, 1_000, 10_000] {
            let (low, high) = wilson(n / 10, n);
            assert!(low < 0.1 && 0.1 < high, "{low} {high}");
            assert!(high - low < width);
            width = high - low;
        }
        // 5 of 5: 1 / (1 + 9 / 5).
        let (low, high) = wilson(5, 5);
        assert!(
            (low - 5.0 / 14.0).abs() < 1e-12 && high >= 1.0,
            "{low} {high}"
        );
    }

    #[test]
    fn a_difference_is_certain_only_with_enough_of_both() {
        assert!(least_difference((5, 5), (0, 5)) > 0.0);
        assert!(least_difference((5, 5), (0, 1)) < 0.0);
        assert!(least_difference((6, 50), (3, 50)) < 0.0);
        assert!(least_difference((600, 5_000), (300, 5_000)) > 0.0);
        assert!(least_difference((50, 100), (50, 100)) < 0.0);
    }
}
