//! Where answers go.
//!
//! A transaction answers many calls at once, and most of their callers are tasks of the same few threads. To wake each from another
//! thread costs a system call; so a thread has a tray that all its answers are put on, is woken once, and hands them out itself.

use std::sync::Arc;

use parking_lot::Mutex;
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
    told: Mutex<Vec<(oneshot::Sender<Outcome>, Outcome)>>,
    bell: Notify,
}

impl Tray {
    /// Hands out what is put on it, for as long as it is polled.
    pub(crate) async fn hand_out(&self) {
        loop {
            self.bell.notified().await;
            let told = std::mem::take(&mut *self.told.lock());
            for (answer, outcome) in told {
                tell(answer, outcome);
            }
        }
    }
}

/// Answers calls.
pub(crate) fn tell_all(told: impl IntoIterator<Item = (Caller, Outcome)>) {
    let mut trays: Vec<Arc<Tray>> = Vec::new();
    for (Caller { answer, tray }, outcome) in told {
        match tray {
            None => tell(answer, outcome),
            Some(tray) => {
                tray.told.lock().push((answer, outcome));
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
