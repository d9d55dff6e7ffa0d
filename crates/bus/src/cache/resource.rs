//! The answers of one resource in this process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use primitives::MonotonicTime;
use quick_cache::Weighter;

use super::{Rules, Strategy};

/// What an entry takes beside its key and its answer.
const OVERHEAD: u64 = 128;
/// About how large an answer is, for the first estimate of their number.
const USUAL: u64 = 1_024;

#[derive(Clone, Debug)]
struct Kept {
    answer: Bytes,
    generation: u64,
    continuity: u64,
    until: MonotonicTime,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<String, Kept> for Weight {
    fn weight(&self, key: &String, kept: &Kept) -> u64 {
        (key.len() + kept.answer.len()) as u64 + OVERHEAD
    }
}

/// The right to keep an answer that was begun to be made at a moment.
#[derive(Debug)]
pub struct Ticket {
    resource: &'static str,
    key: String,
    generation: u64,
    continuity: u64,
    pub(super) shared: Option<i64>,
}

impl Ticket {
    /// Returns whose answer it is about.
    pub fn resource(&self) -> &'static str {
        self.resource
    }

    pub(super) fn continuity(&self) -> u64 {
        self.continuity
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

#[derive(Debug)]
pub(super) struct Resource {
    name: &'static str,
    rules: Rules,
    kept: quick_cache::sync::Cache<String, Kept, Weight>,
    /// Grows with every change.
    generation: AtomicU64,
    /// How often Redis knows of changes; `None` while that is not known here.
    pub(super) shared: Mutex<Option<i64>>,
    /// Whether a change is still to be told to others.
    pub(super) untold: AtomicBool,
    cleaned_at: Mutex<MonotonicTime>,
}

impl Resource {
    pub(super) fn new(name: &'static str, rules: Rules) -> Self {
        let items = usize::try_from(rules.max_bytes / USUAL).unwrap_or(usize::MAX);
        Self {
            name,
            rules,
            kept: quick_cache::sync::Cache::with_weighter(items.max(16), rules.max_bytes, Weight),
            generation: AtomicU64::new(0),
            shared: Mutex::new(None),
            untold: AtomicBool::new(false),
            cleaned_at: Mutex::new(MonotonicTime::from_micros(0)),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules
    }

    pub(super) fn bytes(&self) -> u64 {
        self.kept.weight()
    }

    pub(super) fn ticket(&self, key: &str, continuity: u64) -> Ticket {
        let shared = *self.shared.lock();
        Ticket {
            resource: self.name,
            key: key.to_owned(),
            generation: self.generation.load(Ordering::SeqCst),
            continuity,
            shared,
        }
    }

    pub(super) fn find(&self, key: &str, continuity: u64, now: MonotonicTime) -> Option<Bytes> {
        let kept = self.kept.get(key)?;
        let is_good = kept.generation == self.generation.load(Ordering::SeqCst)
            && kept.continuity == continuity
            && (self.rules.strategy == Strategy::Size || now < kept.until);
        if is_good {
            return Some(kept.answer);
        }
        self.kept.remove(key);
        None
    }

    /// Keeps an answer for as long; returns whether it is good and there is room.
    pub(super) fn keep(
        &self,
        ticket: &Ticket,
        answer: Bytes,
        good_for: Duration,
        now: MonotonicTime,
    ) -> bool {
        if ticket.generation != self.generation.load(Ordering::SeqCst) {
            return false;
        }
        let kept = Kept {
            answer,
            generation: ticket.generation,
            continuity: ticket.continuity,
            until: now.after(good_for),
        };
        let weight = Weight.weight(&ticket.key, &kept);
        if weight > self.rules.max_bytes {
            return false;
        }
        if self.rules.strategy == Strategy::Time && self.bytes() + weight > self.rules.max_bytes {
            self.clean(now);
            if self.bytes() + weight > self.rules.max_bytes {
                return false;
            }
        }
        self.kept.insert(ticket.key.clone(), kept);
        true
    }

    /// Removes what is too old, once a second.
    fn clean(&self, now: MonotonicTime) {
        {
            let mut cleaned_at = self.cleaned_at.lock();
            if now.since(*cleaned_at) < Duration::from_secs(1) {
                return;
            }
            *cleaned_at = now;
        }
        self.kept.retain(|_, kept| now < kept.until);
    }

    pub(super) fn forget(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.kept.clear();
    }
}
