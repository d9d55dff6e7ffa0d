//! Watches the silence of a stream: when is a keep-alive due, when has a node stalled.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use primitives::MonotonicTime;
use tokio::time::{Instant, Sleep};

use crate::upstream::LOOK;

/// What a silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The client should hear something.
    KeepAlive,
    /// The node sent nothing for this long.
    Stalled(Duration),
    /// No answer has begun: is the node still there?
    Look,
}

/// The clockwork of one stream. Frames only note the time; the timer is set anew when it fires, not at each frame.
pub(super) struct Pace {
    timer: Pin<Box<Sleep>>,
    /// The timer's origin on both clocks.
    origin: (Instant, MonotonicTime),
    keep_alive: Option<Duration>,
    first_token: Duration,
    stall: Duration,
    last_progress: MonotonicTime,
    last_sent: MonotonicTime,
    last_look: MonotonicTime,
    kept_alive: bool,
}

impl Pace {
    /// Starts watching at `now`. Without `keep_alive` no keep-alives are due.
    pub(super) fn new(
        now: MonotonicTime,
        keep_alive: Option<Duration>,
        first_token: Duration,
        stall: Duration,
    ) -> Self {
        let origin = (Instant::now(), now);
        // The shortest of the waits: which of them counts is decided when the timer fires.
        let shortest = first_token.min(stall);
        let first = keep_alive.map_or(shortest, |k| k.min(shortest));
        Self {
            timer: Box::pin(tokio::time::sleep_until(origin.0 + first)),
            origin,
            keep_alive,
            first_token,
            stall,
            last_progress: now,
            last_sent: now,
            last_look: now,
            kept_alive: false,
        }
    }

    /// Notes that the node sent something.
    pub(super) const fn progressed(&mut self, now: MonotonicTime) {
        self.last_progress = now;
    }

    /// Notes that the client got something.
    pub(super) const fn sent(&mut self, now: MonotonicTime) {
        self.last_sent = now;
    }

    /// Tells whether a keep-alive has gone out, which means that the head of the answer has, too.
    pub(super) const fn kept_alive(&self) -> bool {
        self.kept_alive
    }

    /// Returns what is due now, or waits. `streaming`: a node is being listened to; `begun`: its answer has begun.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, streaming: bool, begun: bool) -> Poll<Due> {
        loop {
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = self.now();
            let limit = if begun { self.stall } else { self.first_token };
            if streaming && now.since(self.last_progress) >= limit {
                // A continuation starts its own wait.
                self.last_progress = now;
                self.set(now, limit, false);
                return Poll::Ready(Due::Stalled(limit));
            }
            let looks = streaming && !begun;
            if looks && now.since(self.last_look) >= LOOK {
                self.last_look = now;
                self.set(now, limit, looks);
                return Poll::Ready(Due::Look);
            }
            if let Some(interval) = self.keep_alive
                && now.since(self.last_sent) >= interval
            {
                self.last_sent = now;
                self.kept_alive = true;
                self.set(now, limit, looks);
                return Poll::Ready(Due::KeepAlive);
            }
            self.set(now, limit, looks);
        }
    }

    fn now(&self) -> MonotonicTime {
        self.origin.1.after(self.origin.0.elapsed())
    }

    fn set(&mut self, now: MonotonicTime, limit: Duration, looks: bool) {
        let stalled = self.last_progress.after(limit);
        let stalled = if looks {
            stalled.min(self.last_look.after(LOOK))
        } else {
            stalled
        };
        let next = self.keep_alive.map_or(stalled, |interval| {
            stalled.min(self.last_sent.after(interval))
        });
        // Never in the past, or the loop would spin.
        let wait = next.since(now).max(Duration::from_millis(1));
        self.timer.as_mut().reset(Instant::now() + wait);
    }
}
