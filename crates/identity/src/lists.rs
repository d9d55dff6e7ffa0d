//! The list of changes, which many look at: kept until something changes, so that it is read and written out once.
//!
//! A change counts itself in the database, and the count is asked for each time, on every replica: who has changed something sees it in
//! the list. Other lists are kept by `[cache]`, which forgets them when they are changed; this one is changed by everything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::store::StoreError;
use tokio::sync::Mutex;
use web::{KeptAnswer, KeptAnswers, Problem};

use crate::identity::Identity;
use crate::organisations::OrgScope;
use crate::routes::AuditQuery;
use crate::store;

/// How long a list is kept although nothing changes.
const LASTS: Duration = Duration::from_secs(1);

/// What was asked, by whom as far as that says what they may see.
type Question<Q> = (OrgScope, Q);

/// The kept lists.
#[derive(Debug)]
pub(crate) struct Lists {
    pub(crate) audit: KeptAnswers<Question<AuditQuery>>,
    /// How many have asked for the count of changes.
    asked: AtomicU64,
    /// How many of them the last look at it was for, and what it found.
    seen: Mutex<(u64, i64)>,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            audit: KeptAnswers::new(LASTS),
            asked: AtomicU64::new(0),
            seen: Mutex::default(),
        }
    }
}

impl Identity {
    /// Returns a kept list, or has it made.
    pub(crate) async fn listed<Q: std::hash::Hash + Eq>(
        &self,
        kept: &KeptAnswers<Question<Q>>,
        question: Question<Q>,
        make: impl AsyncFnOnce() -> Result<KeptAnswer, Problem>,
    ) -> Result<KeptAnswer, Problem> {
        let now = self.inner.clock.monotonic();
        let generation = self.generation_now().await?;
        kept.find_or_make(question, generation, now, async || {
            // Read before the list, which may be newer than it says, never older.
            let generation = self.generation_now().await?;
            Ok((generation, make().await?))
        })
        .await
    }

    /// Reads the count of changes. Those who ask while somebody looks share the next look, which begins after all of them have asked.
    async fn generation_now(&self) -> Result<i64, StoreError> {
        let lists = &self.inner.lists;
        let mine = lists.asked.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let mut seen = lists.seen.lock().await;
        let (last, generation) = *seen;
        if last >= mine {
            return Ok(generation);
        }
        let asked = lists.asked.load(Ordering::SeqCst);
        let generation = store::glance_at_generation(&self.inner.db).await?;
        *seen = (asked, generation);
        Ok(generation)
    }
}
