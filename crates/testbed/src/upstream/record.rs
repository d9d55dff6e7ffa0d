//! What an upstream has seen: requests with their bodies, and how each ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use parking_lot::Mutex;

/// Requests kept; older ones are forgotten.
const KEPT_REQUESTS: usize = 4096;
/// Bytes kept of each body.
const KEPT_BODY_BYTES: usize = 256 * 1024;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct SeenRequest {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All headers.
    pub headers: HeaderMap,
    /// The body's first 256 KiB.
    pub body: Bytes,
    /// When its body was complete.
    pub at: Instant,
}

impl SeenRequest {
    /// Returns the body as JSON, or null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Counts since the start; a restart does not reset them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests of any kind.
    pub requests: u64,
    /// Requests for inference.
    pub inference: u64,
    /// Inference requests now being answered.
    pub in_flight: u64,
    /// The highest `in_flight` so far.
    pub most_in_flight: u64,
    /// Inference requests answered to the end as far as the script wanted, faults included.
    pub ended: u64,
    /// Inference requests whose client went away before the end.
    pub cancelled: u64,
    /// Tokens handed to connections.
    pub tokens: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Models loaded, again or for the first time.
    pub loads: u64,
    /// Models driven out for another one while they were answering.
    pub evicted_busy: u64,
}

/// A request whose client went away.
#[derive(Clone, Debug)]
pub struct Cancellation {
    /// The request's path.
    pub path: String,
    /// When this side noticed.
    pub at: Instant,
    /// Tokens handed to the connection until then.
    pub tokens_sent: usize,
}

#[derive(Default)]
struct State {
    counters: Counters,
    requests: VecDeque<SeenRequest>,
    cancellations: VecDeque<Cancellation>,
    /// Inference requests in flight by model.
    busy: BTreeMap<String, usize>,
    /// Whether the server has been killed, which is not its clients' doing.
    dead: bool,
}

/// The record that the server writes and tests read.
#[derive(Clone, Default)]
pub(super) struct Record(Arc<Mutex<State>>);

impl Record {
    pub(super) fn counters(&self) -> Counters {
        self.0.lock().counters
    }

    pub(super) fn requests(&self) -> Vec<SeenRequest> {
        self.0.lock().requests.iter().cloned().collect()
    }

    pub(super) fn cancellations(&self) -> Vec<Cancellation> {
        self.0.lock().cancellations.iter().cloned().collect()
    }

    pub(super) fn set_dead(&self, dead: bool) {
        self.0.lock().dead = dead;
    }

    pub(super) fn connection(&self) {
        self.0.lock().counters.connections += 1;
    }

    pub(super) fn request(&self, mut request: SeenRequest) {
        if request.body.len() > KEPT_BODY_BYTES {
            request.body = Bytes::copy_from_slice(&request.body[..KEPT_BODY_BYTES]);
        }
        let mut state = self.0.lock();
        state.counters.requests += 1;
        if state.requests.len() == KEPT_REQUESTS {
            state.requests.pop_front();
        }
        state.requests.push_back(request);
    }

    /// Counts a load.
    pub(super) fn load(&self) {
        self.0.lock().counters.loads += 1;
    }

    /// Counts a model that had to go.
    pub(super) fn evicted(&self, model: &str) {
        let mut state = self.0.lock();
        if state.busy.get(model).is_some_and(|busy| *busy > 0) {
            state.counters.evicted_busy += 1;
        }
    }

    /// Tells whether a model answers now.
    pub(super) fn is_busy(&self, model: &str) -> bool {
        self.0.lock().busy.get(model).is_some_and(|busy| *busy > 0)
    }

    /// Counts an inference request as in flight until the guard is dropped.
    pub(super) fn inference(&self, path: &str) -> Flight {
        let mut state = self.0.lock();
        let counters = &mut state.counters;
        counters.inference += 1;
        counters.in_flight += 1;
        counters.most_in_flight = counters.most_in_flight.max(counters.in_flight);
        Flight {
            record: self.clone(),
            path: path.to_owned(),
            model: None,
            tokens_sent: 0,
            ended: false,
        }
    }
}

/// An inference request in flight. Dropped before [`Flight::end`] it counts as cancelled.
pub(super) struct Flight {
    record: Record,
    path: String,
    model: Option<String>,
    tokens_sent: usize,
    ended: bool,
}

impl Flight {
    /// Notes which model answers.
    pub(super) fn uses(&mut self, model: &str) {
        self.model = Some(model.to_owned());
        *self
            .record
            .0
            .lock()
            .busy
            .entry(model.to_owned())
            .or_default() += 1;
    }

    pub(super) fn sent(&mut self, tokens: usize) {
        self.tokens_sent += tokens;
        if tokens > 0 {
            self.record.0.lock().counters.tokens += tokens as u64;
        }
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.record.0.lock();
        state.counters.in_flight -= 1;
        if let Some(busy) = self
            .model
            .take()
            .and_then(|model| state.busy.get_mut(&model))
        {
            *busy -= 1;
        }
        if self.ended || state.dead {
            state.counters.ended += 1;
            return;
        }
        state.counters.cancelled += 1;
        if state.cancellations.len() == KEPT_REQUESTS {
            state.cancellations.pop_front();
        }
        state.cancellations.push_back(Cancellation {
            path: std::mem::take(&mut self.path),
            at: Instant::now(),
            tokens_sent: self.tokens_sent,
        });
    }
}
