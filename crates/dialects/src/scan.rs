//! Walking over JSON text without building anything: one pass that checks the grammar and hands out values as text.
//!
//! Made for the two documents that every request pays for, its own body and a node's whole answer: of a long text only the
//! end is of interest. Strings are passed over many bytes at a time.
//!
//! Whatever a [`Scanner`] accepts, `serde_json` accepts too (tested); what it does not accept it leaves to `serde_json`, which
//! can also say why.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// Deeper values are left to others.
const MAX_DEPTH: u32 = 128;

/// A place in JSON text. Every step returns `None` where the text is not JSON.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    controls: Controls,
}

impl<'a> Scanner<'a> {
    /// Begins at the first byte. `None` when the bytes are not UTF-8.
    pub(crate) fn new(json: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(json).ok()?;
        Some(Self {
            text,
            at: 0,
            controls: Controls::of(json),
        })
    }

    /// Begins at the first byte of a value that another scanner has handed out.
    pub(crate) fn of_value(json: &'a str) -> Self {
        Self {
            text: json,
            at: 0,
            controls: Controls::Possible,
        }
    }

    /// Walks over the members of an object. `member` must take its value with one call to the scanner.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&str, &mut Self) -> Option<()>,
    ) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let key = self.key()?;
            member(&key, self)?;
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    /// Walks over the items of an array. `item` must take its value with one call to the scanner.
    pub(crate) fn array(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            item(self)?;
            if self.take(b',').is_none() {
                return self.take(b']');
            }
        }
    }

    /// Takes the next value as its text, without the spaces around it.
    pub(crate) fn value(&mut self) -> Option<&'a str> {
        self.space();
        let start = self.at;
        self.skip()?;
        self.text.get(start..self.at)
    }

    /// Takes the next value as its text unless it is `null`, which every dialect reads as absent.
    #[expect(clippy::option_option, reason = "an absent value is no failure")]
    pub(crate) fn present(&mut self) -> Option<Option<&'a str>> {
        self.value()
            .map(|value| Some(value).filter(|value| *value != "null"))
    }

    /// Passes over the next value.
    pub(crate) fn skip(&mut self) -> Option<()> {
        let mut depth = 0;
        // One bit for each open value: whether it is an object.
        let mut objects: u128 = 0;
        loop {
            self.space();
            let opened = match self.byte()? {
                b'"' => {
                    self.at =
                        string_end(self.text.as_bytes(), self.at + 1, self.controls)?.after_quote;
                    false
                }
                b'{' => {
                    self.at += 1;
                    objects = objects << 1 | 1;
                    true
                }
                b'[' => {
                    self.at += 1;
                    objects <<= 1;
                    true
                }
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => self.number()?,
            };
            let mut may_end = opened;
            if opened {
                depth += 1;
                if depth > MAX_DEPTH {
                    return None;
                }
            }
            // What may follow: the end of what is open, as often as it ends, or the next value in it.
            loop {
                if depth == 0 {
                    return Some(());
                }
                let in_object = objects & 1 == 1;
                if self.take(if in_object { b'}' } else { b']' }).is_some() {
                    depth -= 1;
                    objects >>= 1;
                    may_end = false;
                    continue;
                }
                if !may_end {
                    self.take(b',')?;
                }
                if in_object {
                    self.key()?;
                }
                break;
            }
        }
    }

    /// Makes sure that nothing but space is left.
    pub(crate) fn end(&mut self) -> Option<()> {
        self.space();
        (self.at == self.text.len()).then_some(())
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes this byte, and the space before it.
    fn take(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.byte()? == byte).then(|| self.at += 1)
    }

    /// Takes a member's name and the colon.
    fn key(&mut self) -> Option<Cow<'a, str>> {
        self.take(b'"')?;
        let start = self.at;
        let end = string_end(self.text.as_bytes(), start, self.controls)?;
        self.at = end.after_quote;
        let key = if end.has_escapes {
            let quoted = self.text.get(start - 1..end.after_quote)?;
            Cow::Owned(serde_json::from_str(quoted).ok()?)
        } else {
            Cow::Borrowed(self.text.get(start..end.after_quote - 1)?)
        };
        self.take(b':')?;
        Some(key)
    }

    /// Takes a word; it opens nothing.
    fn word(&mut self, word: &str) -> Option<bool> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(word.as_bytes()).then(|| {
            self.at += word.len();
            false
        })
    }

    /// Takes a number; it opens nothing.
    fn number(&mut self) -> Option<bool> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(false)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

/// Reads a string that [`Scanner::present`] found; the outer `None` when it is of another type.
#[expect(clippy::option_option, reason = "an absent value is no failure")]
pub(crate) fn string(json: Option<&str>) -> Option<Option<Cow<'_, str>>> {
    let Some(json) = json else { return Some(None) };
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Some(Cow::Borrowed(inner)));
    }
    serde_json::from_str(json)
        .ok()
        .map(|text| Some(Cow::Owned(text)))
}

/// Where a string ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StringEnd {
    /// The place behind the closing quote.
    pub(crate) after_quote: usize,
    /// Whether there are escapes in it.
    pub(crate) has_escapes: bool,
}

/// Whether control characters, which strings must not have, can stand in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Controls {
    /// There may be some, so strings are looked through.
    Possible,
    /// There are none anywhere: the usual case, JSON without line ends.
    None,
}

impl Controls {
    fn of(text: &[u8]) -> Self {
        // Without an early way out, so that many bytes are compared at a time.
        let lowest = text.iter().fold(u8::MAX, |low, byte| low.min(*byte));
        if lowest < b' ' {
            Self::Possible
        } else {
            Self::None
        }
    }
}

/// Finds the end of the string whose first character is at `start`.
pub(crate) fn string_end(json: &[u8], start: usize, controls: Controls) -> Option<StringEnd> {
    let mut at = start;
    let mut has_escapes = false;
    loop {
        let rest = json.get(at..)?;
        let plain = memchr2(b'"', b'\\', rest)?;
        if controls == Controls::Possible && rest[..plain].iter().any(|byte| *byte < b' ') {
            return None;
        }
        at += plain;
        if json[at] == b'"' {
            return Some(StringEnd {
                after_quote: at + 1,
                has_escapes,
            });
        }
        has_escapes = true;
        at += match json.get(at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' if json.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
    use serde::de::IgnoredAny;

    use super::*;

    fn accepts(json: &[u8]) -> bool {
        Scanner::new(json)
            .is_some_and(|mut scanner| scanner.skip().and_then(|()| scanner.end()).is_some())
    }

    #[test]
    fn members_and_items_are_handed_out_as_text() {
        let mut scanner =
            Scanner::new(br#" { "a" : [1, {"b":[]} ] , "\u0063":"x\"y" ,"n":null} "#).unwrap();
        let mut seen = Vec::new();
        scanner
            .object(|key, scanner| {
                let key = key.to_owned();
                if key == "a" {
                    return scanner.array(|scanner| {
                        seen.push((key.clone(), scanner.value()?));
                        Some(())
                    });
                }
                seen.extend(scanner.present()?.map(|value| (key, value)));
                Some(())
            })
            .unwrap();
        scanner.end().unwrap();
        let seen: Vec<(&str, &str)> = seen
            .iter()
            .map(|(key, value)| (key.as_str(), *value))
            .collect();
        assert_eq!(seen, [("a", "1"), ("a", r#"{"b":[]}"#), ("c", r#""x\"y""#)]);
    }

    #[test]
    fn what_is_not_json_is_not_accepted() {
        for json in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "[1 2]",
            "01",
            "1.",
            "-",
            "+1",
            "1e",
            "tru",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "[}",
            "{]",
            "{\"a\":1]",
            "1 2",
            "{,}",
            "[,1]",
            "nul",
            ".5",
        ] {
            assert!(!accepts(json.as_bytes()), "{json}");
        }
        assert!(!accepts(b"\"\xff\""));
        assert!(!accepts("[".repeat(100_000).as_bytes()));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(accepts(nested(128).as_bytes()));
        assert!(!accepts(nested(129).as_bytes()));
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = proptest::prop_oneof![
            any::<bool>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
            proptest::strategy::Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            proptest::prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                proptest::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn all_json_is_accepted_and_every_member_found(json in value(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) }.unwrap();
            prop_assert!(accepts(text.as_bytes()), "{}", text);
            // Read back, because some numbers are printed more exactly than they are read.
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            if let Some(object) = read.as_object() {
                let mut found = serde_json::Map::new();
                let mut scanner = Scanner::new(text.as_bytes()).unwrap();
                scanner.object(|key, scanner| {
                    found.insert(key.to_owned(), serde_json::from_str(scanner.value()?).ok()?);
                    Some(())
                }).unwrap();
                prop_assert_eq!(&found, object);
            }
        }

        #[test]
        fn what_is_accepted_is_json(mut bytes in value().prop_map(|json| json.to_string().into_bytes()),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), "[\\[\\]{}\",:\\\\0-9eEtfnu .\n-]"), 1..4)) {
            for (index, byte) in changes {
                let at = index.index(bytes.len());
                bytes[at] = byte.as_bytes()[0];
            }
            let json = serde_json::from_slice::<IgnoredAny>(&bytes).is_ok();
            prop_assert!(json || !accepts(&bytes), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
