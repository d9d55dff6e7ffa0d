//! Letting go of records past their retention, so that what is left can still be verified.

use std::time::Duration;

use ::store::StoreError;
use serde_json::json;

use super::record::{Action, Actor, Change, record};
use crate::identity::Identity;
use crate::store;

/// How often old records are looked for.
const EVERY: Duration = Duration::from_hours(1);

impl Identity {
    /// Removes records that are past their retention, at most once an hour. The hash of the last one removed is kept: the chain goes
    /// on from it.
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
        let cutoff = now.before(self.inner.policies.load().audit_retention);
        let mut tx = self.inner.db.read().await?;
        let due = store::last_audit_before(&mut tx, cutoff).await?;
        tx.commit().await?;
        let Some((seq, hash)) = due else {
            return Ok(());
        };
        let mut tx = self.inner.db.write().await?;
        store::advance_generation(&mut tx).await?;
        let removed = store::delete_audit_up_to(&mut tx, seq).await?;
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
}
