//! A short cut for the frames of a text stream, which differ from each other in little but the text.
//!
//! Once a frame was parsed and said nothing but one text, the bytes around that text are kept. A later frame that has the
//! same bytes around another plain string is the same JSON with another string, so its text is known without a parse.

use memchr::{memchr, memchr2, memmem};

/// The time of a line, the one other string that changes in Ollama's streams.
const CREATED_AT: &[u8] = b"\"created_at\":\"";

/// The bytes that stay the same from frame to frame.
#[derive(Debug)]
pub(crate) struct TextTemplate {
    /// What stands before, between and after the strings that change.
    pieces: Vec<Vec<u8>>,
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
        let (place, holes) = match time_hole {
            Some(time) if time.start < text_hole.start => (1, [Some(time), Some(text_hole)]),
            time => (0, [Some(text_hole), time]),
        };
        let mut pieces = Vec::with_capacity(holes.len() + 1);
        let mut from = 0;
        for hole in holes.into_iter().flatten() {
            pieces.push(frame.get(from..hole.start)?.to_vec());
            from = hole.end;
        }
        pieces.push(frame.get(from..)?.to_vec());
        Some(Self {
            pieces,
            text: place,
        })
    }

    /// Returns the text of a frame of the same form.
    pub(crate) fn text<'f>(&self, frame: &'f [u8]) -> Option<&'f str> {
        let (first, others) = self.pieces.split_first()?;
        let mut rest = frame.strip_prefix(first.as_slice())?;
        let mut text = None;
        for (place, piece) in others.iter().enumerate() {
            let end = memchr2(b'"', b'\\', rest)?;
            let (string, after) = rest.split_at(end);
            // JSON forbids control characters in strings; an escape makes the piece below not match.
            if string.iter().any(|byte| *byte < b' ') {
                return None;
            }
            if place == self.text {
                text = Some(string);
            }
            rest = after.strip_prefix(piece.as_slice())?;
        }
        if !rest.is_empty() {
            return None;
        }
        std::str::from_utf8(text?).ok()
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
        assert_eq!(template.text(other), Some(" t\u{e4}o"));
        let empty = b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n";
        assert_eq!(template.text(empty), Some(""));
    }

    #[test]
    fn frames_of_any_other_form_give_none() {
        let template = TextTemplate::learn(FRAME, "one").unwrap();
        for other in [
            &b"data: {\"id\":\"d\",\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n"[..],
            b"data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"a\\n\"}}]}\n\n",
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
        assert_eq!(template.text(line("22", "two").as_bytes()), Some("two"));
        let last = line("22", "two").replace("false", "true");
        assert_eq!(template.text(last.as_bytes()), None);
        let after = |time: &str, text: &str| {
            format!("{{\"response\":\"{text}\",\"created_at\":\"{time}\"}}\n")
        };
        let template = TextTemplate::learn(after("1", "one").as_bytes(), "one").unwrap();
        assert_eq!(template.text(after("22", "two").as_bytes()), Some("two"));
    }
}
