//! Bounds the memory that the bodies of all requests under way hold together.
//!
//! Each body is bounded by `server.body_limit`; many large ones at once are not, and images in base64 are large. What is counted
//! is what has arrived, so that announcing a large body and not sending it takes nothing from others.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;

/// The room for request bodies.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    /// Bytes held now; what `/metrics` shows is what decides.
    held: Gauge,
    limit: usize,
}

impl BodyMemory {
    /// Makes room for `limit` bytes, counted in `held`.
    pub(crate) fn new(limit: usize, held: Gauge) -> Arc<Self> {
        Arc::new(Self { held, limit })
    }

    /// Returns the bytes there is room for.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }
}

/// A share of the room; given back when dropped.
#[derive(Debug)]
pub(crate) struct BodyShare {
    memory: Arc<BodyMemory>,
    bytes: i64,
}

impl BodyShare {
    /// Makes an empty share.
    pub(crate) fn new(memory: &Arc<BodyMemory>) -> Self {
        Self {
            memory: memory.clone(),
            bytes: 0,
        }
    }

    /// Takes room for `bytes` more; `false` when there is none, and then nothing is taken.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        // No body comes near what the signed number cannot hold.
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.memory.held.inc_by(bytes);
        let fits = usize::try_from(before.saturating_add(bytes))
            .is_ok_and(|held| held <= self.memory.limit);
        if fits {
            self.bytes = self.bytes.saturating_add(bytes);
        } else {
            self.memory.held.dec_by(bytes);
        }
        fits
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        self.memory.held.dec_by(self.bytes);
    }
}

/// A body that was read whole, with the room that it holds.
#[derive(Debug)]
pub(crate) struct RequestBody {
    bytes: Bytes,
    _share: BodyShare,
}

impl RequestBody {
    /// Joins a body and its room.
    pub(crate) const fn new(bytes: Bytes, share: BodyShare) -> Self {
        Self {
            bytes,
            _share: share,
        }
    }
}

impl Deref for RequestBody {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_whatever_happened() {
        let held = Gauge::default();
        let memory = BodyMemory::new(10, held.clone());
        let mut one = BodyShare::new(&memory);
        assert!(one.grow(6));
        let mut two = BodyShare::new(&memory);
        assert!(!two.grow(5), "11 bytes in room for 10");
        drop(two);
        assert_eq!(held.get(), 6);
        let body = RequestBody::new(Bytes::from_static(b"abcdef"), one);
        assert_eq!(body.len(), 6);
        drop(body);
        assert_eq!(held.get(), 0);
    }
}
