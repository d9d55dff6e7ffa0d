//! What a run puts out, gathered into pieces: a commit for each word would cost more than the word.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

/// Text waits at most so long before it is stored.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// So much text is stored at once.
const LARGEST_PIECE: usize = 4 << 10;
/// The pause after the database refused a piece.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Text that is not stored yet.
#[derive(Debug)]
pub(crate) struct Output {
    attempt: u32,
    parts: Vec<(&'static str, String)>,
    waiting: usize,
    total: usize,
    due: Option<Instant>,
}

impl Output {
    pub(crate) const fn new(attempt: u32) -> Self {
        Self {
            attempt,
            parts: Vec::new(),
            waiting: 0,
            total: 0,
            due: None,
        }
    }

    /// Adds text. What follows text of the same channel is joined with it.
    pub(crate) fn push(&mut self, channel: &'static str, text: &str) {
        if text.is_empty() {
            return;
        }
        self.total += text.len();
        self.waiting += text.len();
        match self.parts.last_mut() {
            Some((last, joined)) if *last == channel => joined.push_str(text),
            _ => self.parts.push((channel, text.to_owned())),
        }
        self.due
            .get_or_insert_with(|| Instant::now() + LONGEST_WAIT);
        if self.waiting >= LARGEST_PIECE {
            self.due = Some(Instant::now());
        }
    }

    /// Returns all bytes that were put out.
    pub(crate) const fn total(&self) -> usize {
        self.total
    }

    /// Tells whether anything waits.
    pub(crate) const fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Waits until something is to be stored; for ever while nothing waits.
    pub(crate) async fn due(&self) {
        match self.due {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Returns what waits as it is stored.
    pub(crate) fn piece(&self) -> Value {
        let parts: Vec<Value> = self
            .parts
            .iter()
            .map(|(channel, text)| json!({"channel": channel, "text": text}))
            .collect();
        json!({"attempt": self.attempt, "output": parts})
    }

    /// Returns what tells followers that the answer begins anew.
    pub(crate) fn restart(&self) -> Value {
        json!({"attempt": self.attempt, "restarted": true})
    }

    /// Notes that the piece was stored.
    pub(crate) fn stored(&mut self) {
        self.parts.clear();
        self.waiting = 0;
        self.due = None;
    }

    /// Notes that it could not be stored now.
    pub(crate) fn refused(&mut self) {
        self.due = Some(Instant::now() + AGAIN_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_one_channel_is_joined_and_the_order_of_channels_is_kept() {
        let mut output = Output::new(2);
        for (channel, text) in [("thinking", "hm"), ("content", "a"), ("content", "b")] {
            output.push(channel, text);
        }
        assert_eq!(
            output.piece(),
            json!({"attempt": 2, "output": [
                {"channel": "thinking", "text": "hm"}, {"channel": "content", "text": "ab"}
            ]})
        );
        output.stored();
        assert!(output.is_empty());
        assert_eq!(output.total(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn text_is_due_after_a_moment_and_much_of_it_at_once() {
        let mut output = Output::new(1);
        let began = Instant::now();
        output.push("content", "a");
        output.due().await;
        assert_eq!(began.elapsed(), LONGEST_WAIT);
        output.stored();
        output.push("content", &"x".repeat(LARGEST_PIECE));
        let began = Instant::now();
        output.due().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
