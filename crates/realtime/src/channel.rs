//! One channel: a history, and those who are woken when it grows.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use primitives::Timestamp;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::history::{Bounds, History, Next, Position};
use crate::standing::Owner;
use crate::topic::Topic;

/// A channel. A topic is one channel, or one for each caller or organisation.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) topic: Topic,
    /// Whose inference it is about, where it is about one.
    pub(crate) owner: Option<Owner>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    history: History,
    /// By the number of the connection.
    listeners: HashMap<u64, Arc<Notify>>,
    /// When something last happened here.
    touched: Timestamp,
}

impl Channel {
    pub(crate) fn new(topic: Topic, owner: Option<Owner>, epoch: u64, now: Timestamp) -> Self {
        Self {
            topic,
            owner,
            inner: Mutex::new(Inner {
                history: History::new(epoch),
                listeners: HashMap::new(),
                touched: now,
            }),
        }
    }

    /// Appends what `encode` makes of the message's position, and wakes the listeners. Returns by how many bytes the history grew.
    pub(crate) fn publish(
        &self,
        now: Timestamp,
        bounds: Bounds,
        encode: impl FnOnce(Position) -> Utf8Bytes,
    ) -> isize {
        let mut inner = self.inner.lock();
        // Under the lock: the order of numbers is the order of messages.
        let message = encode(inner.history.next_position());
        let grown = inner.history.push(message, bounds);
        inner.touched = now;
        for bell in inner.listeners.values() {
            bell.notify_one();
        }
        grown
    }

    /// Adds a listener and returns where it starts: after `from` when everything since then is kept, with the next message otherwise.
    pub(crate) fn listen(
        &self,
        connection: u64,
        bell: &Arc<Notify>,
        from: Option<Position>,
    ) -> Start {
        let mut inner = self.inner.lock();
        inner.listeners.insert(connection, Arc::clone(bell));
        let end = inner.history.end();
        let resumed = from.map(|from| inner.history.continues(from));
        let position = match from {
            Some(from) if resumed == Some(true) => from,
            _ => end,
        };
        Start { position, resumed }
    }

    pub(crate) fn leave(&self, connection: u64, now: Timestamp) {
        let mut inner = self.inner.lock();
        inner.listeners.remove(&connection);
        inner.touched = now;
    }

    /// Returns the message after number `number`.
    pub(crate) fn after(&self, number: u64) -> Next {
        self.inner.lock().history.after(number)
    }

    pub(crate) fn listeners(&self) -> usize {
        self.inner.lock().listeners.len()
    }

    /// Returns when something last happened here while nobody listens, and the bytes it holds.
    pub(crate) fn idle_since(&self) -> Option<(Timestamp, usize)> {
        let inner = self.inner.lock();
        inner
            .listeners
            .is_empty()
            .then(|| (inner.touched, inner.history.bytes()))
    }
}

/// Where a listener starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) position: Position,
    /// Whether it goes on without a gap, where it asked to.
    pub(crate) resumed: Option<bool>,
}
