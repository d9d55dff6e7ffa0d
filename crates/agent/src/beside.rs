//! Readings that may hang: each kind on a thread of its own, asked for with a bound.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

/// Why a reading did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoReading {
    /// It has not come in time; the next one is asked for when it has.
    #[error("no answer within {} s", .0.as_secs())]
    Stuck(Duration),
    /// The code that reads failed in a way that it should not.
    #[error("reading failed")]
    Failed,
}

/// A source of readings on its own thread.
pub(crate) struct Beside<T> {
    ask: SyncSender<()>,
    answers: mpsc::Receiver<Option<T>>,
    waiting: bool,
    limit: Duration,
}

impl<T: Send + 'static> Beside<T> {
    /// Starts the thread; `read` is called there for every reading, `limit` is how long one is waited for.
    pub(crate) fn start(
        name: &str,
        limit: Duration,
        mut read: impl FnMut() -> T + Send + 'static,
    ) -> Self {
        let (ask, asked) = sync_channel::<()>(1);
        let (answer, answers) = mpsc::channel(1);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while asked.recv().is_ok() {
                    let reading = catch_unwind(AssertUnwindSafe(&mut read)).ok();
                    if answer.blocking_send(reading).is_err() {
                        return;
                    }
                }
            });
        if let Err(error) = thread {
            tracing::warn!(name, %error, "a thread that reads the machine could not be started");
        }
        Self {
            ask,
            answers,
            waiting: false,
            limit,
        }
    }

    /// Returns a fresh reading. While an earlier one hangs nothing new is asked for.
    pub(crate) async fn read(&mut self) -> Result<T, NoReading> {
        if !self.waiting {
            self.ask.try_send(()).map_err(|_| NoReading::Failed)?;
            self.waiting = true;
        }
        match timeout(self.limit, self.answers.recv()).await {
            Err(_) => Err(NoReading::Stuck(self.limit)),
            Ok(reading) => {
                self.waiting = false;
                reading.flatten().ok_or(NoReading::Failed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reading_that_hangs_or_fails_stops_nobody() {
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let mut calls = 0;
        let mut beside = Beside::start("test", Duration::from_millis(50), move || {
            calls += 1;
            match calls {
                1 => assert!(hang.recv().is_err(), "released by dropping the sender"),
                2 => panic!("a driver's fault"),
                _ => {}
            }
            calls
        });
        assert!(matches!(beside.read().await, Err(NoReading::Stuck(_))));
        assert!(matches!(beside.read().await, Err(NoReading::Stuck(_))));
        drop(release);
        beside.limit = Duration::from_secs(30);
        assert_eq!(beside.read().await, Ok(1));
        assert_eq!(beside.read().await, Err(NoReading::Failed));
        assert_eq!(beside.read().await, Ok(3));
    }
}
