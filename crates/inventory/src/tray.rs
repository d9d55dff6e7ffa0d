//! Where answers go.
//!
//! A transaction answers many calls at once, and most of their callers are tasks of the same few threads. To wake each from another
//! thread costs a system call; so a thread has a tray that all its answers are put on, is woken once, and hands them out itself.
//!
//! How long answers lie there tells how far the thread is behind, and about as long do calls lie unread in its sockets, where nobody
//! sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use primitives::{Clock, MonotonicTime};
use tokio::sync::{Notify, oneshot};

use crate::batch::Outcome;

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) answer: oneshot::Sender<Outcome>,
    /// The tray of the caller's thread, where that has one.
    pub(crate) tray: Option<Arc<Tray>>,
}

/// Answers for the tasks of one thread: no more than calls were let in.
#[derive(Debug, Default)]
pub(crate) struct Tray {
    told: Mutex<Told>,
    bell: Notify,
    /// How long answers lie here, smoothed, in microseconds.
    delay_us: AtomicU64,
}

#[derive(Debug, Default)]
struct Told {
    answers: Vec<(oneshot::Sender<Outcome>, Outcome)>,
    /// Since when the first of them lies here.
    since: MonotonicTime,
}

impl Tray {
    /// Hands out what is put on it, for as long as it is polled.
    pub(crate) async fn hand_out(&self, clock: &dyn Clock) {
        loop {
            self.bell.notified().await;
            let told = std::mem::take(&mut *self.told.lock());
            if !told.answers.is_empty() {
                self.note_delay(clock.monotonic().since(told.since));
            }
            for (answer, outcome) in told.answers {
                tell(answer, outcome);
            }
        }
    }

    /// Returns how long answers lie here before the thread comes to them.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_micros(self.delay_us.load(Ordering::Relaxed))
    }

    /// Only the thread itself does this.
    fn note_delay(&self, delay: Duration) {
        let (seen, known) = (
            delay.as_micros() as u64,
            self.delay_us.load(Ordering::Relaxed),
        );
        self.delay_us
            .store((known * 3 + seen) / 4, Ordering::Relaxed);
    }

    fn put(&self, answer: oneshot::Sender<Outcome>, outcome: Outcome, now: MonotonicTime) {
        let mut told = self.told.lock();
        if told.answers.is_empty() {
            told.since = now;
        }
        told.answers.push((answer, outcome));
    }
}

/// Answers calls.
pub(crate) fn tell_all(told: impl IntoIterator<Item = (Caller, Outcome)>, now: MonotonicTime) {
    let mut trays: Vec<Arc<Tray>> = Vec::new();
    for (Caller { answer, tray }, outcome) in told {
        match tray {
            None => tell(answer, outcome),
            Some(tray) => {
                tray.put(answer, outcome, now);
                if !trays.iter().any(|other| Arc::ptr_eq(other, &tray)) {
                    trays.push(tray);
                }
            }
        }
    }
    for tray in trays {
        tray.bell.notify_one();
    }
}

fn tell(answer: oneshot::Sender<Outcome>, outcome: Outcome) {
    // Nobody may be there any more.
    drop(answer.send(outcome));
}
