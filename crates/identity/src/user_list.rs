//! Looking at people.

use primitives::{OrgId, Page, UserId};

use crate::extract::OrgAdmin;
use crate::identity::Identity;
use crate::listing::Listing;
use crate::model::Role;
use crate::store;
use crate::users::{User, UserError};

/// Whom to list. Absent: all that the caller may see.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserFilter {
    /// Of one organisation.
    pub org_id: Option<OrgId>,
    /// With one role.
    pub role: Option<Role>,
    /// Only those who are disabled, or only those who are not.
    pub disabled: Option<bool>,
}

impl Identity {
    /// Lists people, of one organisation or of all that the caller may see.
    pub async fn list_users(
        &self,
        admin: &OrgAdmin,
        filter: UserFilter,
        listing: &Listing,
    ) -> Result<Page<User>, UserError> {
        let scope = admin.scope().narrow(filter.org_id)?;
        let position = listing.position()?;
        let mut tx = self.inner.db.read().await?;
        store::known_organisation(&mut tx, filter.org_id).await??;
        let (users, total) = store::list_users(&mut tx, scope, filter, listing, &position).await?;
        tx.commit().await?;
        Ok(listing.page(users, total, |user| (user.id.to_string(), &user.username)))
    }

    /// Finds a person whom the caller may see.
    pub async fn load_user(&self, admin: &OrgAdmin, id: UserId) -> Result<User, UserError> {
        let mut tx = self.inner.db.read().await?;
        let found = store::find_user_by_id(&mut tx, admin.scope(), id).await?;
        tx.commit().await?;
        found.ok_or(UserError::Unknown(id))
    }
}
