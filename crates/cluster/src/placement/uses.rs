//! How much each model is used at each node, gathered in memory and stored now and then.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use ::store::StoreError;
use parking_lot::Mutex;
use primitives::{NodeId, Timestamp};

use super::Placement;
use super::store::{self, ModelUse};
use crate::name::model_key;

/// The most models at nodes whose uses wait to be stored; beyond it those of further ones are not counted until then.
const MOST_WAITING: usize = 10_000;
/// The most that are stored in one transaction.
const MOST_STORED: usize = 1_000;
/// The demand is a mean over this time.
const WINDOW: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    requests: u64,
    busy_ms: u64,
    last: Timestamp,
}

/// Uses that are not stored yet.
#[derive(Debug, Default)]
pub(super) struct Uses {
    waiting: Mutex<HashMap<(String, NodeId), Used>>,
    totals: Mutex<VecDeque<(Timestamp, BTreeMap<String, u64>)>>,
}

impl Placement {
    /// Notes that a call of a model at a node ended at `at` after `took`.
    pub fn note_use(&self, node: NodeId, model: &str, took: Duration, at: Timestamp) {
        let mut waiting = self.inner.uses.waiting.lock();
        let key = (model_key(model).into_owned(), node);
        if waiting.len() >= MOST_WAITING && !waiting.contains_key(&key) {
            return;
        }
        let used = waiting.entry(key).or_default();
        used.requests += 1;
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        used.busy_ms = used.busy_ms.saturating_add(took);
        used.last = used.last.max(at);
    }

    /// Stores what was used. What cannot be stored waits on.
    pub(super) async fn store_uses(&self) -> Result<(), StoreError> {
        let taken: Vec<ModelUse> = {
            let mut waiting = self.inner.uses.waiting.lock();
            let keys: Vec<(String, NodeId)> = waiting.keys().take(MOST_STORED).cloned().collect();
            keys.into_iter()
                .filter_map(|key| {
                    let used = waiting.remove(&key)?;
                    let (model, node) = key;
                    Some(ModelUse {
                        model,
                        node,
                        requests: used.requests,
                        busy_ms: used.busy_ms,
                        last_used_at: used.last,
                    })
                })
                .collect()
        };
        if taken.is_empty() {
            return Ok(());
        }
        let stored = self.write_uses(&taken).await;
        if stored.is_err() {
            let mut waiting = self.inner.uses.waiting.lock();
            for back in taken {
                let used = waiting.entry((back.model, back.node)).or_default();
                used.requests += back.requests;
                used.busy_ms = used.busy_ms.saturating_add(back.busy_ms);
                used.last = used.last.max(back.last_used_at);
            }
        }
        stored
    }

    async fn write_uses(&self, uses: &[ModelUse]) -> Result<(), StoreError> {
        let mut tx = self.db().write_with(::store::Durability::Relaxed).await?;
        for used in uses {
            store::add_use(&mut tx, used).await?;
        }
        tx.commit().await
    }

    /// Returns when a model was last used at a node, as far as it is not stored yet.
    pub(super) fn last_use_here(&self, key: &str, node: NodeId) -> Option<Timestamp> {
        let waiting = self.inner.uses.waiting.lock();
        waiting.get(&(key.to_owned(), node)).map(|used| used.last)
    }

    /// Returns how many calls ran of each model on the average of the last minute, on all nodes together.
    pub(super) fn calls(&self, uses: &[ModelUse], now: Timestamp) -> BTreeMap<String, f64> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for used in uses {
            *sums.entry(used.model.clone()).or_default() += used.busy_ms;
        }
        let mut totals = self.inner.uses.totals.lock();
        while totals
            .get(1)
            .is_some_and(|(at, _)| now.since(*at) >= WINDOW)
        {
            totals.pop_front();
        }
        let mean = totals.front().map(|(at, before)| {
            let elapsed = now.since(*at).as_millis().max(1) as f64;
            sums.iter()
                .map(|(model, busy)| {
                    // Of one that is not there nothing had been asked.
                    let before = before.get(model).copied().unwrap_or(0);
                    (model.clone(), busy.saturating_sub(before) as f64 / elapsed)
                })
                .collect()
        });
        totals.push_back((now, sums));
        mean.unwrap_or_default()
    }
}
