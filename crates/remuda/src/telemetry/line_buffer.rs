//! Gathers log lines and writes them together, so that a line costs the request path a copy and not a system call.
//!
//! Lines reach standard error within [`LINGER`]. At [`BOUND`] bytes further lines are dropped, and the next write says how many:
//! a log that nobody reads (a stopped pipe) must not stop the gateway.

use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest wait of a line.
const LINGER: Duration = Duration::from_millis(20);
/// Most bytes that wait.
const BOUND: usize = 4 << 20;

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

/// Writes the last lines when dropped.
#[must_use = "log lines stop when this is dropped"]
#[derive(Debug)]
pub struct LogGuard {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
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
        let writer = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("log".to_owned())
                .spawn(move || write_all(&shared))?
        };
        let guard = LogGuard {
            shared: Arc::clone(&shared),
            writer: Some(writer),
        };
        Ok((Self { shared }, guard))
    }
}

impl io::Write for LineBuffer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if state.waiting.len() + line.len() > BOUND {
            state.dropped += 1;
            return Ok(line.len());
        }
        let first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if first {
            self.shared.arrived.notify_one();
        }
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
        // A writer that panicked has nothing left to say.
        drop(self.writer.take().map(JoinHandle::join));
    }
}

/// Writes until the guard is dropped and nothing waits.
fn write_all(shared: &Shared) {
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
