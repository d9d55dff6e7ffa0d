//! Letting go of records past their retention, month by month, so that what is left can still be verified.

use std::time::Duration;

use ::store::{Engine, Monthly, StoreError};
use primitives::Timestamp;
use serde_json::json;

use super::record::{Action, Actor, Change, record};
use crate::identity::Identity;
use crate::store;

/// How often old records are looked for.
const EVERY: Duration = Duration::from_hours(1);
const MONTHS: Monthly = Monthly::new("audit_log");
/// Months that have a partition before they begin: as long as a server may stand still without records going astray.
const MONTHS_AHEAD: u32 = 3;

impl Identity {
    /// Removes months that are past the retention as a whole, at most once an hour. The hash of the last record removed is kept: the
    /// chain goes on from it. Where months have partitions, those to come are made.
    pub(crate) async fn trim_audit(&self) -> Result<(), StoreError> {
        let at = self.inner.clock.monotonic();
        {
            let mut trimmed = self.inner.audit_trimmed.lock().await;
            if trimmed.is_some_and(|last| at.since(last) < EVERY) {
                return Ok(());
            }
            *trimmed = Some(at);
        }
        let now = self.inner.clock.now();
        self.make_months(now).await?;
        let cutoff = Monthly::month_of(now.before(self.inner.policies.load().audit_retention));
        let mut tx = self.inner.db.read().await?;
        let due = store::last_audit_before(&mut tx, cutoff).await?;
        tx.commit().await?;
        let Some((seq, hash)) = due else {
            return Ok(());
        };
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation_only(&mut tx).await?;
        let removed = MONTHS.remove_before(&mut tx, cutoff).await?;
        if removed == 0 {
            return Ok(());
        }
        store::set_audit_base(&mut tx, seq, hash).await?;
        let change = Change {
            action: Action::AuditTrim,
            org: None,
            subject: ("audit", None),
            old: None,
            new: Some(json!({"removed": removed, "up_to": seq})),
        };
        record(&mut tx, now, &Actor::system(), change).await?;
        tx.commit().await
    }

    /// Makes partitions for the months to come, where there are such.
    async fn make_months(&self, now: Timestamp) -> Result<(), StoreError> {
        if self.inner.db.engine() == Engine::Sqlite {
            return Ok(());
        }
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation_only(&mut tx).await?;
        if MONTHS.make_ahead(&mut tx, now, MONTHS_AHEAD).await? > 0 {
            tx.commit().await?;
        }
        Ok(())
    }
}
