//! Looking through the journal.

use ::store::StoreError;
use primitives::{Classify, Cursor, ErrorKind, InvalidCursor, OrgId, Page, PageRequest, Timestamp};

use super::record::AuditRecord;
use crate::extract::OrgAdmin;
use crate::identity::Identity;
use crate::organisations::UnknownOrganisation;
use crate::store;

/// Which records to show. Absent: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of one organisation.
    pub org_id: Option<OrgId>,
    /// Of one action, as in `key.create`.
    pub action: Option<String>,
    /// Of one person or key.
    pub actor_id: Option<String>,
    /// About one thing.
    pub subject_id: Option<String>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// Why records were not listed.
#[derive(Debug, thiserror::Error)]
pub enum ListAuditError {
    /// The organisation is not one of the caller's.
    #[error(transparent)]
    Organisation(#[from] UnknownOrganisation),
    /// The cursor is not ours.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for ListAuditError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Organisation(error) => error.kind(),
            Self::Cursor(_) => ErrorKind::Invalid,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Organisation(error) => error.public_message(),
            Self::Cursor(error) => error.to_string(),
            Self::Store(error) => error.public_message(),
        }
    }
}

impl Identity {
    /// Lists records, the newest first: administrators of the platform see all, others those of their organisation.
    pub async fn list_audit(
        &self,
        admin: &OrgAdmin,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditRecord>, ListAuditError> {
        let scope = admin.scope().narrow(filter.org_id)?;
        let before = match page.cursor.as_deref().map(Cursor::key).transpose()? {
            Some(key) => key.parse().map_err(|_| InvalidCursor)?,
            None => i64::MAX,
        };
        let mut tx = self.inner.db.read().await?;
        store::known_organisation(&mut tx, filter.org_id).await??;
        let (found, total) = store::list_audit(&mut tx, scope, filter, before, page).await?;
        tx.commit().await?;
        let key = |record: &AuditRecord| record.seq.to_string();
        Ok(Page::from_overfetched(found, page.size(), key).of_total(total))
    }
}
