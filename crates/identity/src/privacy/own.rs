//! What this domain itself knows of a person.

use primitives::{Page, PageRequest};
use serde_json::json;

use super::writer::ExportWriter;
use super::{DataSubject, PartError};
use crate::audit::{AuditFilter, AuditRecord};
use crate::identity::Identity;
use crate::organisations::OrgScope;
use crate::store;
use crate::users::User;

/// Records that are read at a time.
const STEP: u32 = 500;

impl Identity {
    pub(super) async fn export_identity(
        &self,
        user: &User,
        of: &DataSubject,
        to: &mut ExportWriter,
    ) -> Result<(), PartError> {
        let mut tx = self.inner.db.read().await?;
        let facts = store::facts_of_user(&mut tx, of.id).await?;
        tx.commit().await?;
        to.value(
            "person",
            &json!({
                "id": user.id, "org_id": user.org_id, "username": user.username, "email": user.email,
                "display_name": user.display_name, "role": user.role, "custom_role": user.custom_role,
                "created_at": user.created_at, "disabled_at": user.disabled_at,
                "second_factor_since": facts.second_factor_since,
            }),
        )
        .await?;
        for (name, rows) in [
            ("sessions", facts.sessions),
            ("keys", facts.keys),
            ("identities", facts.identities),
            ("invitations_made", facts.invitations),
        ] {
            to.section(name).await?;
            for row in rows {
                to.item(&row).await?;
            }
        }
        to.section("changes").await?;
        for id in of.ids() {
            self.export_changes(&id, Side::Actor, to).await?;
            self.export_changes(&id, Side::Subject, to).await?;
        }
        Ok(())
    }

    /// Writes the records of what somebody did, or of what was done to them by others.
    async fn export_changes(
        &self,
        id: &str,
        side: Side,
        to: &mut ExportWriter,
    ) -> Result<(), PartError> {
        let filter = AuditFilter {
            actor_id: (side == Side::Actor).then(|| id.to_owned()),
            subject_id: (side == Side::Subject).then(|| id.to_owned()),
            ..AuditFilter::default()
        };
        let page = PageRequest {
            limit: Some(STEP),
            ..PageRequest::default()
        };
        let mut before = i64::MAX;
        loop {
            let mut tx = self.inner.db.read().await?;
            let (found, _) =
                store::list_audit(&mut tx, OrgScope::All, &filter, before, &page).await?;
            tx.commit().await?;
            let page =
                Page::from_overfetched(found, STEP, |record: &AuditRecord| record.seq.to_string());
            for record in &page.items {
                before = record.seq;
                let by_themself = record.actor_id.as_deref() == Some(id);
                if side == Side::Subject && by_themself {
                    continue;
                }
                to.item(&change(record, side)).await?;
            }
            if page.next_cursor.is_none() {
                return Ok(());
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Actor,
    Subject,
}

/// Shows a record. What others did shows neither their names nor their addresses: those are theirs.
fn change(record: &AuditRecord, side: Side) -> serde_json::Value {
    let json = |text: &Option<String>| -> serde_json::Value {
        text.as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    };
    let mut shown = json!({
        "seq": record.seq, "at": record.at, "action": record.action,
        "subject_kind": record.subject_kind, "subject_id": record.subject_id,
        "old": json(&record.old), "new": json(&record.new),
    });
    if side == Side::Actor {
        shown["actor_name"] = json!(record.actor_name);
        shown["ip"] = json!(record.ip);
        shown["user_agent"] = json!(record.user_agent);
    }
    shown
}
