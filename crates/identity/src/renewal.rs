//! Keeping the snapshot of credentials true after a change: those that it was about are loaded, or all of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::store::StoreError;
use primitives::{MonotonicTime, SessionId, UserId};

use crate::identity::Identity;
use crate::permission::Rights;
use crate::signing::SigningKeys;
use crate::snapshot::Entry;
use crate::store::{self, Which};

/// After this time a change has all credentials loaded, so that what has expired leaves memory.
const LOADED_WHOLE_EVERY: Duration = Duration::from_mins(10);

/// How far renewals came.
#[derive(Debug, Default)]
pub(crate) struct Renewing {
    /// Which wishes for a renewal the snapshot serves.
    served: u64,
    /// When all credentials were loaded.
    whole_at: Option<MonotonicTime>,
}

impl Identity {
    /// Loads the credentials that changed from the database, all where it is not known which did, and publishes them. Those who wish
    /// it at the same time share one renewal that began after their wish.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        let wish = self.inner.renewals.fetch_add(1, Ordering::SeqCst) + 1;
        let mut renewing = self.inner.renewing.lock().await;
        if renewing.served >= wish {
            return Ok(());
        }
        // Changes share commits: who was told of the same one may wish for it first, and shares this, too.
        tokio::task::yield_now().await;
        let answers = self.inner.renewals.load(Ordering::SeqCst);
        let now = self.inner.clock.now();
        let at = self.inner.clock.monotonic();
        let current = self.inner.snapshot.load_full();
        // After a failure all are loaded: the database may come back as one that has lost changes and counted others.
        let whole_at = renewing.whole_at.take();
        let mut tx = self.inner.db.read_by_keys().await?;
        let generation = store::load_generation(&mut tx).await?;
        let from = current.generation();
        let is_due = |last| at.since(last) >= LOADED_WHOLE_EVERY;
        let changed = match whole_at {
            Some(last) if !is_due(last) => {
                store::changed_credentials(&mut tx, from, generation).await?
            }
            Some(_) | None => None,
        };
        let next = if let Some(changed) = changed {
            let which = Which::Changed {
                after: from,
                until: generation,
            };
            let fresh = store::load_entries(&mut tx, which, now, &current).await?;
            tx.commit().await?;
            renewing.whole_at = whole_at;
            current.amended(&changed, fresh, generation)
        } else {
            let entries = store::load_entries(&mut tx, Which::All, now, &current).await?;
            let stored = store::load_signing_keys(&mut tx).await?;
            tx.commit().await?;
            let signing = if current.signing().are(&stored) {
                Arc::clone(current.signing())
            } else {
                Arc::new(SigningKeys::open(stored, &self.inner.sealer))
            };
            renewing.whole_at = Some(at);
            current.succeed(entries, signing, generation)
        };
        next.confirm(now);
        self.inner.snapshot.store(Arc::new(next));
        renewing.served = answers;
        Ok(())
    }

    /// Has the next renewal load all credentials.
    pub(crate) async fn doubt(&self) {
        self.inner.renewing.lock().await.whole_at = None;
    }

    /// Publishes a change that is committed. When that fails the change still stands, and the reconcile loop publishes it.
    pub(crate) async fn published(&self) {
        if let Err(error) = self.renew().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a committed change of keys or sessions is not in effect yet: it will be when the database answers"
            );
        }
    }

    /// Publishes the end of credentials. When this returns they are let in no more, whether the database answers or not.
    pub(crate) async fn withdrawn(&self, ends: impl Fn(&Entry) -> bool) {
        self.withdraw(ends).await;
        self.published().await;
    }

    /// Publishes the end of all sessions of a person but one, likewise.
    pub(crate) async fn sessions_ended(&self, user: UserId, kept: Option<SessionId>) {
        self.withdrawn(|entry| {
            let session = entry.principal.session;
            entry.principal.user == Some(user) && session.is_some() && session != kept
        })
        .await;
    }

    /// Takes credentials out of the snapshot without a look at the database.
    async fn withdraw(&self, ends: impl Fn(&Entry) -> bool) {
        let _turn = self.inner.renewing.lock().await;
        let without = self.inner.snapshot.load().without(ends);
        self.inner.snapshot.store(Arc::new(without));
    }

    /// Publishes the change of a person. When this returns their sessions and keys do no more than `most`, nothing at all when that is
    /// absent, whether the database answers or not.
    pub(crate) async fn restricted(&self, user: UserId, most: Option<Rights>) {
        {
            let _turn = self.inner.renewing.lock().await;
            let restricted = self.inner.snapshot.load().restricted(user, most);
            self.inner.snapshot.store(Arc::new(restricted));
        }
        self.published().await;
    }
}
