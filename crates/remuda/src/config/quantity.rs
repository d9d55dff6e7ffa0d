//! Sizes and durations as people write them: `32MiB`, `30d`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A number of bytes: an integer, or text with `KB MB GB` (powers of 1000) or `KiB MiB GiB` (powers of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A length of time: an integer number of seconds, or text with `ms s m h d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl ByteSize {
    /// Makes a size from mebibytes.
    pub const fn mebibytes(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    /// Reads text such as `32MiB`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "k" | "kib" => 1024,
            "m" | "mib" => 1024 * 1024,
            "g" | "gib" => 1024 * 1024 * 1024,
            _ => return None,
        };
        number.checked_mul(factor).map(Self)
    }
}

impl Period {
    /// Makes a period from whole seconds.
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// Makes a period from whole days.
    pub const fn days(count: u64) -> Self {
        Self(Duration::from_secs(count * 86_400))
    }

    /// Reads text such as `500ms`, `10s`, `5m`, `12h` or `30d`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let millis = match unit {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number
            .checked_mul(millis)
            .map(|millis| Self(Duration::from_millis(millis)))
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

struct Quantity<T> {
    from_integer: fn(u64) -> T,
    from_text: fn(&str) -> Option<T>,
    expected: &'static str,
}

impl<T> Visitor<'_> for Quantity<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        Ok((self.from_integer)(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        u64::try_from(value)
            .map(self.from_integer)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self.expected))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
        (self.from_text)(value)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self.expected))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Quantity {
            from_integer: Self,
            from_text: Self::parse,
            expected: "a size such as \"32MiB\" or a number of bytes",
        })
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Quantity {
            from_integer: Self::seconds,
            from_text: Self::parse,
            expected: "a duration such as \"30s\", \"5m\", \"12h\" or \"30d\"",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_periods_read_as_people_write_them() {
        assert_eq!(ByteSize::parse("32MiB"), Some(ByteSize::mebibytes(32)));
        assert_eq!(ByteSize::parse("5 MB"), Some(ByteSize(5_000_000)));
        assert_eq!(ByteSize::parse("lots"), None);
        assert_eq!(Period::parse("30d"), Some(Period::days(30)));
        assert_eq!(
            Period::parse("250ms"),
            Some(Period(Duration::from_millis(250)))
        );
        assert_eq!(Period::parse("-1s"), None);
        assert_eq!(Period::parse("99999999999999999999d"), None);
    }
}
