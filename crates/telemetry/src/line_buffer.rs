//! Gathers log lines and writes them together, so that a line costs the request path a copy and not a system call.
//!
//! Lines reach standard error within [`LINGER`]. At [`BOUND`] bytes further lines are dropped, and the next write says how many:
//! a log that nobody reads (a stopped pipe) must not stop the gateway.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Longest wait of a line.
const LINGER: Duration = Duration::from_millis(20);
/// Most bytes that wait.
const BOUND: usize = 4 << 20;
/// How long the end waits for the last lines: whoever does not read them must not keep the program alive.
const LAST_LINES: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    dropped: u64,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

/// Where formatted lines go. Clones share the buffer.
#[derive(Clone)]
pub(super) struct LineBuffer {
    shared: Arc<Shared>,
}

/// Writes the last lines when dropped, and waits for a second at most until they are read.
#[must_use = "log lines stop when this is dropped"]
#[derive(Debug)]
pub struct LogGuard {
    shared: Arc<Shared>,
    /// Disconnected when the writing thread has ended.
    writing: Receiver<Infallible>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LineBuffer")
    }
}

impl LineBuffer {
    /// Starts the writing thread.
    pub(super) fn start() -> io::Result<(Self, LogGuard)> {
        let shared = Arc::new(Shared::default());
        let (alive, writing) = mpsc::channel();
        let writer = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&writer, alive))?;
        let guard = LogGuard {
            shared: Arc::clone(&shared),
            writing,
        };
        Ok((Self { shared }, guard))
    }
}

impl LogGuard {
    /// Writes a remark among the log lines, without waiting for whoever reads them.
    pub fn remark(&self, text: &str) {
        self.shared.push(format!("{text}\n").as_bytes());
    }
}

impl Shared {
    /// Adds a line, or drops it where the bound is reached.
    fn push(&self, line: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.len() + line.len() > BOUND {
            state.dropped += 1;
            return;
        }
        let first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if first {
            self.arrived.notify_one();
        }
    }
}

impl io::Write for LineBuffer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ended = true;
        self.shared.arrived.notify_one();
        // Nothing is ever sent: what comes is the thread's end, or the end of patience.
        let _ended = self.writing.recv_timeout(LAST_LINES);
    }
}

/// Writes until the guard is dropped and nothing waits; `_alive` falls with the thread.
fn write_all(shared: &Shared, _alive: Sender<Infallible>) {
    let mut batch = Vec::new();
    loop {
        let (dropped, ended) = {
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            while state.waiting.is_empty() && !state.ended {
                state = shared
                    .arrived
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut batch, &mut state.waiting);
            (std::mem::take(&mut state.dropped), state.ended)
        };
        if dropped > 0 {
            batch.extend_from_slice(
                format!("{dropped} log lines were dropped: the log is not read fast enough\n")
                    .as_bytes(),
            );
        }
        // Nobody is left to be told when standard error itself is gone.
        if io::stderr().write_all(&batch).is_err() || (ended && batch.is_empty()) {
            return;
        }
        batch.clear();
        if !ended {
            std::thread::sleep(LINGER);
        }
    }
}
