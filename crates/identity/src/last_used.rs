//! When credentials were last used: noted in memory by the snapshot, stored in batches, never on the request path.

use std::sync::Arc;

use ::store::{Durability, StoreError};

use crate::identity::Identity;
use crate::snapshot::{Usage, UsageOwner};
use crate::store;

/// The most credentials stored at once; the rest follows in the next round.
const BATCH: usize = 500;

impl Identity {
    /// Stores the last uses that the database does not know yet. What is noted meanwhile is kept for the next call.
    pub(crate) async fn store_last_used(&self) -> Result<(), StoreError> {
        let snapshot = self.snapshot();
        let batch: Vec<(Arc<Usage>, _)> = snapshot
            .usages()
            .filter_map(|usage| Some((Arc::clone(usage), usage.unstored()?)))
            .take(BATCH)
            .collect();
        if batch.is_empty() {
            return Ok(());
        }
        let used: Vec<(UsageOwner, _)> =
            batch.iter().map(|(usage, at)| (usage.owner, *at)).collect();
        let mut tx = self.inner.db.write_with(Durability::Relaxed).await?;
        store::update_last_used(&mut tx, &used).await?;
        tx.commit().await?;
        for (usage, at) in batch {
            usage.mark_stored(at);
        }
        Ok(())
    }
}
