//! Where answers go.
//!
//! A transaction answers many calls at once, and most of their callers are tasks of the same few threads. To wake each from another
//! thread costs a system call; so a thread has a tray that all its answers are put on, is woken once, and hands them out itself.
//!
//! A thread's tasks run in the order in which they become ready, so that how long one waits for its turn tells how far the thread is
//! behind: as old is a call when it is read, and as long will its answer wait. That is measured by a task that does nothing else.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use primitives::{Clock, MonotonicTime};
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
    turn: Mutex<Turn>,
    /// Rings when the measuring task stands in the thread's line.
    started: Notify,
}

/// How long the measuring task waits for its turn.
#[derive(Debug, Default)]
struct Turn {
    /// Since when it stands in line, if it does.
    since: Option<MonotonicTime>,
    /// How long it took the last time.
    last: Duration,
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

    /// Returns how far the thread is behind, which reads a call.
    pub(crate) fn behind(&self, now: MonotonicTime) -> Duration {
        let mut turn = self.turn.lock();
        if let Some(since) = turn.since {
            return turn.last.max(now.since(since));
        }
        turn.since = Some(now);
        self.started.notify_one();
        turn.last
    }

    /// Measures how far the thread is behind, for as long as it is polled: as a task of the thread.
    pub(crate) async fn measure(&self, clock: &dyn Clock) {
        loop {
            self.started.notified().await;
            let mut turn = self.turn.lock();
            if let Some(since) = turn.since.take() {
                turn.last = clock.monotonic().since(since);
            }
        }
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
