//! Callers as they are now, for work that was accepted from them earlier.

use ::store::StoreError;

use crate::identity::Identity;
use crate::keys::KeyStatus;
use crate::model::{KeyLimits, Principal, PrincipalKind};
use crate::organisations::OrgScope;
use crate::roles::rights_of;
use crate::store;

impl Identity {
    /// Returns a caller as they would be if they presented their credential now: with the rights and limits of this moment. `None` when
    /// they would not be let in any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn caller_now(&self, kind: PrincipalKind) -> Result<Option<Principal>, StoreError> {
        let now = self.inner.clock.now();
        let id = match kind {
            PrincipalKind::Anonymous => return Ok(self.snapshot().authenticate(None, now).ok()),
            PrincipalKind::User(id) => {
                let mut tx = self.inner.db.read().await?;
                let user = store::find_user_by_id(&mut tx, OrgScope::All, id).await?;
                let Some(user) = user.filter(|user| user.disabled_at.is_none()) else {
                    tx.commit().await?;
                    return Ok(None);
                };
                let rights = rights_of(&mut tx, &user).await?;
                tx.commit().await?;
                return Ok(Some(Principal {
                    kind,
                    user: Some(id),
                    session: None,
                    name: user.username.into(),
                    org: user.org_id,
                    role: rights.role,
                    permissions: rights.permissions,
                    models: None,
                    priority: None,
                    limits: KeyLimits::default(),
                    shares_identical: false,
                }));
            }
            PrincipalKind::Key(id) => id,
        };
        let mut tx = self.inner.db.read().await?;
        let found = store::find_key(&mut tx, OrgScope::All, id).await?;
        let Some(found) = found.filter(|found| found.key.status(now) == KeyStatus::Active) else {
            tx.commit().await?;
            return Ok(None);
        };
        let key = found.key;
        let mut rights = key.scope.rights();
        if let Some(owner) = found.owner
            && let Some(user) = store::find_user_by_id(&mut tx, OrgScope::All, owner).await?
        {
            rights = rights.at_most(rights_of(&mut tx, &user).await?);
        }
        tx.commit().await?;
        Ok(Some(Principal {
            kind,
            user: found.owner,
            session: None,
            name: key.name.into(),
            org: key.org_id,
            role: rights.role,
            permissions: rights.permissions,
            models: key.models.map(Into::into),
            priority: key.priority,
            limits: key.limits,
            shares_identical: key.share_identical,
        }))
    }
}
