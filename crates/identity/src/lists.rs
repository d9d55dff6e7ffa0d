//! The list of changes, which many look at: kept until something changes, so that it is read and written out once.
//!
//! A change counts itself in the database, and the count is asked for each time, on every replica: who has changed something sees it in
//! the list. Other lists are kept by `[cache]`, which forgets them when they are changed; this one is changed by everything.

use std::time::Duration;

use ::store::StoreError;
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
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            audit: KeptAnswers::new(LASTS),
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

    async fn generation_now(&self) -> Result<i64, StoreError> {
        store::glance_at_generation(&self.inner.db).await
    }
}
