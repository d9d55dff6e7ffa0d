//! Looking at API keys.

use primitives::{KeyId, OrgId, Page};

use crate::extract::OrgAdmin;
use crate::identity::Identity;
use crate::keys::{ApiKey, KeyStatus, ListKeysError};
use crate::listing::Listing;
use crate::store;

/// Which keys to list. Absent: all that the caller may see.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyFilter {
    /// Of one organisation.
    pub org_id: Option<OrgId>,
    /// In one state.
    pub status: Option<KeyStatus>,
}

impl Identity {
    /// Lists keys, revoked ones too, of one organisation or of all that the caller may see.
    pub async fn list_keys(
        &self,
        admin: &OrgAdmin,
        filter: KeyFilter,
        listing: &Listing,
    ) -> Result<Page<ApiKey>, ListKeysError> {
        let scope = admin.scope().narrow(filter.org_id)?;
        let now = self.inner.clock.now();
        let position = listing.position()?;
        let mut tx = self.inner.db.read().await?;
        store::known_organisation(&mut tx, filter.org_id).await??;
        let (keys, total) =
            store::list_keys(&mut tx, scope, filter.status, listing, &position, now).await?;
        tx.commit().await?;
        Ok(listing.page(keys, total, |key| (key.id.to_string(), &key.name)))
    }

    /// Finds a key that the caller may see.
    pub async fn load_key(&self, admin: &OrgAdmin, id: KeyId) -> Result<ApiKey, ListKeysError> {
        let mut tx = self.inner.db.read().await?;
        let found = store::find_key(&mut tx, admin.scope(), id).await?;
        tx.commit().await?;
        found
            .map(|found| found.key)
            .ok_or(ListKeysError::Unknown(id))
    }
}
