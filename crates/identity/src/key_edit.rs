//! Changing an API key: its name, what it may do and how much. Its secret stays.

use ::store::StoreError;
use primitives::{Classify, ErrorKind, KeyId, Timestamp};
use web::{ChangedMeanwhile, IfMatch};

use crate::audit::{Action, Seen as _, record_about};
use crate::extract::OrgAdmin;
use crate::identity::Identity;
use crate::key_scope::KeyScope;
use crate::keys::{ApiKey, CreateKeyError, KeyRequest, changed, checked};
use crate::model::{KeyLimits, PriorityClass};
use crate::store;

/// What to change of a key. Absent: stays.
#[derive(Clone, Debug, Default)]
pub struct KeyEdit {
    /// Another name.
    pub name: Option<String>,
    /// What else it may do: nothing that the caller may not.
    pub scope: Option<KeyScope>,
    /// Other models; all when nothing is within.
    pub models: Option<Option<Vec<String>>>,
    /// Another ceiling; none when nothing is within.
    pub priority: Option<Option<PriorityClass>>,
    /// Other limits in place of all the present ones.
    pub limits: Option<KeyLimits>,
    /// Whether answers may serve identical requests.
    pub share_identical: Option<bool>,
    /// Another end; none when nothing is within.
    pub expires_at: Option<Option<Timestamp>>,
}

/// Why a key was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditKeyError {
    /// There is no key with this id, as far as the caller may know.
    #[error("there is no key {0}")]
    Unknown(KeyId),
    /// The key is revoked, which cannot be undone.
    #[error("the key {0} is revoked")]
    Revoked(KeyId),
    /// The key is not as the caller believes.
    #[error(transparent)]
    Changed(#[from] ChangedMeanwhile),
    /// The key cannot be so.
    #[error(transparent)]
    Wanted(#[from] CreateKeyError),
}

impl From<StoreError> for EditKeyError {
    fn from(error: StoreError) -> Self {
        Self::Wanted(error.into())
    }
}

impl Classify for EditKeyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::Revoked(_) => ErrorKind::Conflict,
            Self::Changed(error) => error.kind(),
            Self::Wanted(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Unknown(_) => format!("{self}: `remuda key list` shows the ids"),
            Self::Revoked(_) => format!("{self}: make a new one with `remuda key create NAME`"),
            Self::Changed(error) => error.public_message(),
            Self::Wanted(error) => error.public_message(),
        }
    }
}

impl KeyEdit {
    /// Applies the change to a key, checking the whole as for a new one.
    fn apply(self, key: &mut ApiKey, now: Timestamp) -> Result<(), CreateKeyError> {
        let end_stays = self.expires_at.is_none();
        let expires_at = self.expires_at.unwrap_or(key.expires_at);
        let wanted = checked(
            KeyRequest {
                name: self.name.unwrap_or_else(|| key.name.clone()),
                scope: self.scope.unwrap_or(key.scope),
                org_id: None,
                models: self.models.unwrap_or_else(|| key.models.clone()),
                priority: self.priority.unwrap_or(key.priority),
                limits: self.limits.unwrap_or(key.limits),
                share_identical: self.share_identical.unwrap_or(key.share_identical),
                // One that has passed already may stay so.
                expires_at: expires_at.filter(|_| !end_stays),
            },
            now,
        )?;
        key.name = wanted.name;
        key.scope = wanted.scope;
        key.models = wanted.models;
        key.priority = wanted.priority;
        key.limits = wanted.limits;
        key.share_identical = wanted.share_identical;
        key.expires_at = expires_at;
        Ok(())
    }
}

impl Identity {
    /// Changes a key. When this returns the change is in effect here, and on every other replica within a second.
    pub async fn edit_key(
        &self,
        admin: &OrgAdmin,
        id: KeyId,
        edit: KeyEdit,
        expected: &IfMatch,
    ) -> Result<ApiKey, EditKeyError> {
        let now = self.inner.clock.now();
        let (mut tx, place) = store::begin_change(&self.inner.db).await?;
        let (mut key, owner) = store::find_key(&mut tx, admin.scope(), id)
            .await?
            .ok_or(EditKeyError::Unknown(id))?;
        if key.revoked_at.is_some() {
            return Err(EditKeyError::Revoked(id));
        }
        expected.check(|| key.version())?;
        let (name, old) = (key.name.clone(), key.seen());
        // Who may do less does not change what may do more, nor make it do so.
        let covers = |key: &ApiKey| admin.rights().cover(key.scope.rights());
        covers(&key).map_err(CreateKeyError::from)?;
        edit.apply(&mut key, now)?;
        covers(&key).map_err(CreateKeyError::from)?;
        if key.name != name && store::has_live_key_named(&mut tx, owner, &key.name, now).await? {
            return Err(CreateKeyError::NameTaken(key.name).into());
        }
        let change = changed(Action::KeyEdit, &key, Some(old));
        let row = store::update_key(&key);
        record_about(
            &mut tx,
            (id, Some(row)),
            place,
            (now, &admin.actor()),
            change,
        )
        .await?;
        tx.commit().await?;
        self.published().await;
        Ok(key)
    }
}
