//! Where a request stands, as its answer tells it.

use std::sync::Arc;
use std::time::Duration;

use primitives::MonotonicTime;
use scheduling::queue::Ticket;

/// Where a request stands. The request and its answer share it, so that it can be read while the exchange is lent to the
/// opening of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// The node asked last.
    pub(crate) node: Option<Arc<str>>,
    /// The context that the model is loaded with, where it was put in place of a smaller one.
    pub(crate) num_ctx: Option<u32>,
    /// Its time in the queue, if it had to wait.
    pub(crate) queued: Option<Queued>,
}

/// A request's time in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    /// Its position when it first entered.
    pub(crate) position: u32,
    /// How long it was to wait by the pace of that moment; `None` while nothing moved.
    pub(crate) expected: Option<Duration>,
    /// Since when it waits now, and its ticket.
    pub(crate) waits: Option<(MonotonicTime, Ticket)>,
    /// How long it waited before.
    pub(crate) before: Duration,
}

impl Queued {
    /// Returns how long it has waited in all.
    pub(crate) fn time(&self, now: MonotonicTime) -> Duration {
        let since = self.waits.map(|(since, _)| now.since(since));
        self.before + since.unwrap_or_default()
    }
}
