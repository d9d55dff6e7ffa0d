//! Numbers as people read them.

use primitives::Timestamp;

/// Formats a size, as `4.7 GB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match UNITS.get(unit) {
        Some(name) if unit == 0 => format!("{count} {name}"),
        Some(name) => format!("{value:.1} {name}"),
        None => format!("{count} B"),
    }
}

/// Formats how long ago `then` was, as `5 min ago`.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..5 => "now".to_owned(),
        5..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Formats how far `then` lies ahead, as `in 5 min`.
pub(crate) fn ahead(then: Timestamp, now: Timestamp) -> String {
    let seconds = then.since(now).as_secs();
    match seconds {
        0 => "now".to_owned(),
        1..120 => format!("in {seconds} s"),
        120..7_200 => format!("in {} min", (seconds + 30) / 60),
        7_200..172_800 => format!("in {} h", (seconds + 1_800) / 3_600),
        _ => format!("in {} days", (seconds + 43_200) / 86_400),
    }
}

/// Formats a time to the minute, as `2026-01-31 12:00 UTC`.
pub(crate) fn minute(time: Timestamp) -> String {
    let text = time.to_rfc3339();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(clock)) => format!("{day} {clock} UTC"),
        _ => text,
    }
}

/// Formats a time to the second, as `2026-01-31 12:00:00 UTC`.
pub(crate) fn second(time: Timestamp) -> String {
    let text = time.to_rfc3339();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(clock)) => format!("{day} {clock} UTC"),
        _ => text,
    }
}

/// Formats microseconds as milliseconds or seconds, as `12.3 ms` or `4.56 s`.
pub(crate) fn millis_from_micros(micros: i64) -> String {
    let millis = micros as f64 / 1000.0;
    if millis < 1000.0 {
        format!("{} ms", rounded(millis))
    } else {
        format!("{:.2} s", millis / 1000.0)
    }
}

/// Formats a number with at most three significant decimals, as `0.12`, `12.3` or `1234`.
pub(crate) fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(4_700_000_000), "4.7 GB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(millis_from_micros(12_345), "12.3 ms");
        assert_eq!(millis_from_micros(4_560_000), "4.56 s");
        let now = Timestamp::from_micros(1_000_000_000_000);
        assert_eq!(
            ago(Timestamp::from_micros(999_700_000_000), now),
            "5 min ago"
        );
        assert_eq!(ago(now, now), "now");
        assert_eq!(
            ahead(Timestamp::from_micros(1_000_300_000_000), now),
            "in 5 min"
        );
        assert_eq!(minute(now), "1970-01-12 13:46 UTC");
        assert_eq!(second(now), "1970-01-12 13:46:40 UTC");
    }
}
