//! What came of requests under roll-outs, gathered in memory and stored now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use ::store::{Durability, StoreError};
use parking_lot::Mutex;
use primitives::{RequestId, RolloutId, Timestamp};
use scheduling::rollout::FirstTokens;

use super::Rollouts;
use super::split::{RolloutChoice, RolloutVersion};
use super::store::{self, Kind, MAX_SHOWN};

/// The most stages of roll-outs whose counts wait to be stored; beyond it further ones are not counted until then.
const MOST_WAITING: usize = 1_000;

/// Which version of which stage.
type Place = (RolloutId, u32, RolloutVersion);

/// What came of a request.
#[derive(Clone, Copy, Debug)]
pub struct RolloutAnswer {
    /// The request.
    pub id: RequestId,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Whether it failed or its answer broke off. Requests that were the client's fault, or cancelled, are not told.
    pub has_failed: bool,
    /// The time from its arrival to its first token, or to the whole answer.
    pub first_token: Option<Duration>,
}

/// Requests with their weights, the greatest of which are kept.
type Shown = Vec<(String, i64)>;

#[derive(Clone, Debug, Default)]
struct Counted {
    counts: BTreeMap<Kind, u64>,
    failed: Shown,
    slow: Shown,
}

/// Counts that are not stored yet.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<BTreeMap<Place, Counted>>);

fn show(shown: &mut Shown, id: RequestId, weight: i64) {
    shown.push((id.to_string(), weight));
    if shown.len() > MAX_SHOWN as usize {
        keep_greatest(shown);
    }
}

fn keep_greatest(shown: &mut Shown) {
    shown.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    shown.truncate(MAX_SHOWN as usize);
}

impl Counted {
    fn add(&mut self, other: Self) {
        for (kind, requests) in other.counts {
            *self.counts.entry(kind).or_default() += requests;
        }
        for (shown, more) in [
            (&mut self.failed, other.failed),
            (&mut self.slow, other.slow),
        ] {
            shown.extend(more);
            keep_greatest(shown);
        }
    }
}

impl Rollouts {
    /// Notes what came of a request for which a roll-out chose. Never waits.
    pub fn note(&self, choice: RolloutChoice, answer: &RolloutAnswer) {
        let Some(stage) = choice.stage else { return };
        let place = (choice.id, stage, choice.version);
        let mut waiting = self.inner.tally.0.lock();
        if waiting.len() >= MOST_WAITING && !waiting.contains_key(&place) {
            return;
        }
        let counted = waiting.entry(place).or_default();
        let outcome = if answer.has_failed {
            Kind::Failed
        } else {
            Kind::Ok
        };
        *counted.counts.entry(outcome).or_default() += 1;
        let is_new = choice.version == RolloutVersion::New;
        if answer.has_failed && is_new {
            // The first ones are kept.
            show(
                &mut counted.failed,
                answer.id,
                -answer.received_at.as_micros(),
            );
        }
        if let Some(took) = answer.first_token {
            let kind = Kind::FirstToken(FirstTokens::bin_of(took));
            *counted.counts.entry(kind).or_default() += 1;
            if is_new {
                let weight = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
                show(&mut counted.slow, answer.id, weight);
            }
        }
    }

    /// Adds what was counted to what all processes share. What cannot be stored waits on.
    pub(super) async fn store_counts(&self) -> Result<(), StoreError> {
        let taken = std::mem::take(&mut *self.inner.tally.0.lock());
        if taken.is_empty() {
            return Ok(());
        }
        let stored = self.write_counts(&taken).await;
        if stored.is_err() {
            let mut waiting = self.inner.tally.0.lock();
            for (place, counted) in taken {
                waiting.entry(place).or_default().add(counted);
            }
        }
        stored
    }

    /// All processes write in the same order, so that none waits for another that waits for it.
    async fn write_counts(&self, taken: &BTreeMap<Place, Counted>) -> Result<(), StoreError> {
        let mut tx = self.db().write_with(Durability::Relaxed).await?;
        for (place, counted) in taken {
            for (kind, requests) in &counted.counts {
                store::add_count(&mut tx, *place, *kind, *requests).await?;
            }
            let (id, stage, _) = *place;
            for (kind, shown) in [("failed", &counted.failed), ("slow", &counted.slow)] {
                if !shown.is_empty() {
                    store::keep_requests(&mut tx, (id, stage, kind), shown).await?;
                }
            }
        }
        tx.commit().await
    }
}
