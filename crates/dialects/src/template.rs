//! A short cut for the frames of a text stream, which differ from each other in little but the text.
//!
//! Once a frame was parsed and said nothing but one text, the bytes around that text are kept. A later frame that has the
//! same bytes around another plain string is the same JSON with another string, so its text is known without a parse.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use crate::scan::{Controls, string_end};

/// The time of a line, the one other string that changes in Ollama's streams.
const CREATED_AT: &[u8] = b"\"created_at\":\"";

/// The bytes that stay the same from frame to frame.
#[derive(Debug)]
pub(crate) struct TextTemplate {
    /// What stands before, between and after the strings that change, in one piece: there are as many of these as streams.
    constant: Box<[u8]>,
    /// How much of it stands before the first of these strings.
    first: usize,
    /// How much stands between two of them; absent where there is one.
    between: Option<usize>,
    /// Which of these strings is the text.
    text: usize,
}

impl TextTemplate {
    /// Learns from a frame that says `text` and nothing else. `None` when it is not certain where the text stands.
    pub(crate) fn learn(frame: &[u8], text: &str) -> Option<Self> {
        // Without a backslash every string is written as it is, so a quote always opens or closes one.
        if text.is_empty() || memchr(b'\\', frame).is_some() {
            return None;
        }
        let quoted = format!("\"{text}\"");
        let found = memmem::find(frame, quoted.as_bytes())?;
        let start = found + 1;
        if memmem::find(&frame[start..], quoted.as_bytes()).is_some() {
            return None;
        }
        let text_hole = start..start + text.len();
        let time_hole = match memmem::find(frame, CREATED_AT) {
            Some(found) => {
                let start = found + CREATED_AT.len();
                Some(start..start + memchr(b'"', &frame[start..])?)
            }
            None => None,
        };
        let (place, hole, other) = match time_hole {
            Some(time) if time.start < text_hole.start => (1, time, Some(text_hole)),
            time => (0, text_hole, time),
        };
        let mut pieces = vec![frame.get(..hole.start)?];
        let mut from = hole.end;
        let mut between = None;
        if let Some(other) = other {
            let piece = frame.get(from..other.start)?;
            between = Some(piece.len());
            pieces.push(piece);
            from = other.end;
        }
        pieces.push(frame.get(from..)?);
        Some(Self {
            constant: pieces.concat().into(),
            first: hole.start,
            between,
            text: place,
        })
    }

    /// Returns the text of a frame of the same form.
    pub(crate) fn text<'f>(&self, frame: &'f [u8]) -> Option<Cow<'f, str>> {
        let (first, rest) = self.constant.split_at_checked(self.first)?;
        if !frame.starts_with(first) {
            return None;
        }
        let (between, last) = match self.between {
            Some(between) => {
                let (between, last) = rest.split_at_checked(between)?;
                (Some(between), last)
            }
            None => (None, rest),
        };
        let mut at = first.len();
        let mut text = None;
        for (place, piece) in between.into_iter().chain([last]).enumerate() {
            let end = string_end(frame, at, Controls::Possible)?;
            let quote = end.after_quote - 1;
            if place == self.text {
                text = Some((at..quote, end.has_escapes));
            }
            if !frame.get(quote..)?.starts_with(piece) {
                return None;
            }
            at = quote + piece.len();
        }
        if at < frame.len() {
            return None;
        }
        let (range, has_escapes) = text?;
        if has_escapes {
            let quoted = frame.get(range.start - 1..=range.end)?;
            return serde_json::from_slice(quoted).ok().map(Cow::Owned);
        }
        std::str::from_utf8(frame.get(range)?)
            .ok()
            .map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &[u8] =
        b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n";

    #[test]
    fn frames_of_the_same_form_give_their_text() {
        let template = TextTemplate::learn(FRAME, "one").unwrap();
        let other =
            b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\" t\xc3\xa4o\"}}]}\n\n";
        assert_eq!(template.text(other).unwrap(), " t\u{e4}o");
        let escaped =
            b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a\\n\\u00e4\\\"\"}}]}\n\n";
        assert_eq!(template.text(escaped).unwrap(), "a\n\u{e4}\"");
        let empty = b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n";
        assert_eq!(template.text(empty).unwrap(), "");
    }

    #[test]
    fn frames_of_any_other_form_give_none() {
        let template = TextTemplate::learn(FRAME, "one").unwrap();
        for other in [
            &b"data: {\"id\":\"d\",\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n"[..],
            b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a\\ud800\"}}]}\n\n",
            b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a\\x\"}}]}\n\n",
            b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a\",\"x\":\"\"}}]}\n\n",
            b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a\xff\"}}]}\n\n",
            b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a\nb\"}}]}\n\n",
            b"data: [DONE]\n\n",
        ] {
            assert_eq!(template.text(other), None);
        }
    }

    #[test]
    fn doubtful_places_are_not_learnt() {
        assert!(TextTemplate::learn(b"{\"model\":\"a\",\"response\":\"a\"}\n", "a").is_none());
        assert!(
            TextTemplate::learn(b"{\"model\":\"a\",\"response\":\"\\u0061\"}\n", "a").is_none()
        );
    }

    #[test]
    fn ollamas_changing_times_do_not_matter() {
        let line = |time: &str, text: &str| {
            format!(
                "{{\"created_at\":\"{time}\",\"message\":{{\"content\":\"{text}\"}},\"done\":false}}\n"
            )
        };
        let template = TextTemplate::learn(line("1", "one").as_bytes(), "one").unwrap();
        assert_eq!(
            template.text(line("22", "two").as_bytes()),
            Some("two".into())
        );
        let last = line("22", "two").replace("false", "true");
        assert_eq!(template.text(last.as_bytes()), None);
        let after = |time: &str, text: &str| {
            format!("{{\"response\":\"{text}\",\"created_at\":\"{time}\"}}\n")
        };
        let template = TextTemplate::learn(after("1", "one").as_bytes(), "one").unwrap();
        assert_eq!(
            template.text(after("22", "two").as_bytes()),
            Some("two".into())
        );
    }
}
