//! Where answers go.
//!
//! A transaction answers many calls at once, and most of their callers are tasks of the same few threads. To wake each from another
//! thread costs a system call; so a thread has a tray that all its answers are put on, is woken once, and hands them out itself.
//!
//! How long after its decision an answer comes to the task that waits for it tells how far the thread is behind: behind the other answers,
//! and behind the calls that it reads meanwhile. About as long do calls lie unread in its sockets, where nobody sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use primitives::MonotonicTime;
use tokio::sync::{Notify, oneshot};

use crate::batch::Outcome;

/// What became of a call, and since when that stands.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) outcome: Outcome,
    pub(crate) at: MonotonicTime,
}

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) answer: oneshot::Sender<Decided>,
    /// The tray of the caller's thread, where that has one.
    pub(crate) tray: Option<Arc<Tray>>,
}

/// Answers for the tasks of one thread: no more than calls were let in.
#[derive(Debug, Default)]
pub(crate) struct Tray {
    told: Mutex<Vec<(oneshot::Sender<Decided>, Decided)>>,
    bell: Notify,
    /// How long answers take from here to their tasks, smoothed, in microseconds.
    delay_us: AtomicU64,
}

impl Tray {
    /// Hands out what is put on it, for as long as it is polled.
    pub(crate) async fn hand_out(&self) {
        loop {
            self.bell.notified().await;
            let told = std::mem::take(&mut *self.told.lock());
            for (answer, decided) in told {
                tell(answer, decided);
            }
        }
    }

    /// Returns how long answers take before the thread comes to them.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_micros(self.delay_us.load(Ordering::Relaxed))
    }

    /// Takes note of the delay of one answer. Only the thread itself does this.
    pub(crate) fn note_delay(&self, delay: Duration) {
        let (seen, known) = (
            delay.as_micros() as u64,
            self.delay_us.load(Ordering::Relaxed),
        );
        self.delay_us
            .store((known * 15 + seen) / 16, Ordering::Relaxed);
    }
}

/// Answers calls.
pub(crate) fn tell_all(told: impl IntoIterator<Item = (Caller, Outcome)>, now: MonotonicTime) {
    let mut trays: Vec<Arc<Tray>> = Vec::new();
    for (Caller { answer, tray }, outcome) in told {
        let decided = Decided { outcome, at: now };
        match tray {
            None => tell(answer, decided),
            Some(tray) => {
                tray.told.lock().push((answer, decided));
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

fn tell(answer: oneshot::Sender<Decided>, decided: Decided) {
    // Nobody may be there any more.
    drop(answer.send(decided));
}
