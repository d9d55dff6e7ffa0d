//! From generated tokens to what the caller sees: whole characters, nothing of a stop text, log probabilities beside their text.

use crate::generation::TokenLogprob;
use crate::stop::{Filtered, StopFilter};
use crate::tokenizer::TextStream;

/// The visible side of one answer.
#[derive(Debug)]
pub(crate) struct Answer {
    text: TextStream,
    stop: StopFilter,
    /// Whether a space at the very start is dropped.
    strip_space: bool,
    /// Log probabilities whose text is held back, with where that text begins.
    pending: Vec<(usize, TokenLogprob)>,
    decoded_bytes: usize,
    shown_bytes: usize,
}

/// What may be shown after a token.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) logprobs: Vec<TokenLogprob>,
    pub(crate) stopped: bool,
}

impl Answer {
    pub(crate) fn new(stops: &[String], strip_space: bool) -> Self {
        Self {
            text: TextStream::default(),
            stop: StopFilter::new(stops),
            strip_space,
            pending: Vec::new(),
            decoded_bytes: 0,
            shown_bytes: 0,
        }
    }

    /// Takes a token's bytes.
    pub(crate) fn push(&mut self, piece: &[u8], logprob: Option<TokenLogprob>) -> Shown {
        let mut text = self.text.push(piece);
        if self.strip_space && !text.is_empty() {
            self.strip_space = false;
            if text.starts_with(' ') {
                text.remove(0);
            }
        }
        self.pending
            .extend(logprob.map(|logprob| (self.decoded_bytes, logprob)));
        self.decoded_bytes += text.len();
        let Filtered { text, stopped } = self.stop.push(&text);
        self.show(text, stopped)
    }

    /// Returns what was still held back at the natural end.
    pub(crate) fn finish(&mut self) -> Shown {
        let rest = self.text.finish();
        let Filtered { mut text, stopped } = self.stop.push(&rest);
        if !stopped {
            text.push_str(&self.stop.finish());
        }
        let mut shown = self.show(text, stopped);
        if !stopped {
            shown
                .logprobs
                .extend(self.pending.drain(..).map(|(_, logprob)| logprob));
        }
        shown
    }

    fn show(&mut self, text: String, stopped: bool) -> Shown {
        self.shown_bytes += text.len();
        let ready = self
            .pending
            .partition_point(|(start, _)| *start < self.shown_bytes);
        let logprobs = self
            .pending
            .drain(..ready)
            .map(|(_, logprob)| logprob)
            .collect();
        Shown {
            text,
            logprobs,
            stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logprob(token: &str) -> TokenLogprob {
        TokenLogprob {
            token: token.to_owned(),
            bytes: token.as_bytes().to_vec(),
            logprob: -1.0,
            top: Vec::new(),
        }
    }

    fn tokens(shown: &Shown) -> Vec<&str> {
        shown
            .logprobs
            .iter()
            .map(|logprob| logprob.token.as_str())
            .collect()
    }

    #[test]
    fn log_probabilities_wait_for_their_text() {
        let mut answer = Answer::new(&["STOP".to_owned()], false);
        assert_eq!(tokens(&answer.push(b"a", Some(logprob("a")))), ["a"]);
        let held = answer.push(b"ST", Some(logprob("ST")));
        assert_eq!((held.text.as_str(), tokens(&held)), ("", vec![]));
        let freed = answer.push(b"x", Some(logprob("x")));
        assert_eq!(
            (freed.text.as_str(), tokens(&freed)),
            ("STx", vec!["ST", "x"])
        );
        let stopped = answer.push(b"STOP", Some(logprob("STOP")));
        assert_eq!(
            (stopped.text.as_str(), tokens(&stopped), stopped.stopped),
            ("", vec![], true)
        );
    }

    #[test]
    fn a_leading_space_is_dropped_once() {
        let mut answer = Answer::new(&[], true);
        assert_eq!(answer.push(b" a", None).text, "a");
        assert_eq!(answer.push(b" b", None).text, " b");
        assert_eq!(answer.push(b"\xe2\x82", None).text, "");
        assert_eq!(answer.finish().text, "\u{fffd}");
    }
}
