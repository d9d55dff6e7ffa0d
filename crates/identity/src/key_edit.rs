//! Changing an API key: its name, what it may do and how much. Its secret stays.

use ::store::{Engine, StoreError, Tx};
use primitives::{Classify, ErrorKind, KeyId, Timestamp, UserId};
use web::{ChangedMeanwhile, IfMatch};

use crate::audit::{Action, Actor, Change, Seen as _, record_about};
use crate::extract::OrgAdmin;
use crate::identity::Identity;
use crate::key_scope::KeyScope;
use crate::keys::{ApiKey, CreateKeyError, KeyRequest, changed, checked};
use crate::model::{KeyLimits, PriorityClass};
use crate::store;
use crate::store::{FoundKey, Place, RowChange};

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

/// A change of a key that is worked out: what is written once it has its place.
struct Edited {
    key: ApiKey,
    owner: Option<UserId>,
    /// Whether the name is another one, which somebody may have.
    is_renamed: bool,
    change: Change,
    row: RowChange,
}

impl Edited {
    fn new(
        admin: &OrgAdmin,
        (id, found): (KeyId, Option<FoundKey>),
        edit: KeyEdit,
        expected: &IfMatch,
        now: Timestamp,
    ) -> Result<Self, EditKeyError> {
        let found = found.ok_or(EditKeyError::Unknown(id))?;
        let mut key = found.key;
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
        Ok(Self {
            owner: found.owner,
            is_renamed: key.name != name,
            change: changed(Action::KeyEdit, &key, Some(old)),
            row: store::update_key(&key, found.seen),
            key,
        })
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
        let (db, now) = (&self.inner.db, self.inner.clock.now());
        let actor = admin.actor();
        // From its place on a change keeps all others waiting: what PostgreSQL can tell before that is asked and worked out before.
        if db.engine() == Engine::Postgres {
            let found = store::find_key_ahead(db, admin.scope(), id).await?;
            let edited = Edited::new(admin, (id, found), edit.clone(), expected, now)?;
            let change = store::begin_change(db).await?;
            if let Some(key) = self.write_edit(change, edited, (now, &actor)).await? {
                return Ok(key);
            }
        }
        // Also where somebody was faster just now.
        let (mut tx, place) = store::begin_change(db).await?;
        let found = store::find_key(&mut tx, admin.scope(), id).await?;
        let edited = Edited::new(admin, (id, found), edit, expected, now)?;
        let written = self.write_edit((tx, place), edited, (now, &actor)).await?;
        written.ok_or(EditKeyError::Unknown(id))
    }

    /// Writes a change at its place and publishes it. Returns nothing, and nothing is changed, where the key is not as it was seen.
    async fn write_edit(
        &self,
        (mut tx, place): (Tx, Place),
        edited: Edited,
        (now, actor): (Timestamp, &Actor),
    ) -> Result<Option<ApiKey>, EditKeyError> {
        let (key, owner) = (edited.key, edited.owner);
        if edited.is_renamed && store::has_live_key_named(&mut tx, owner, &key.name, now).await? {
            return Err(CreateKeyError::NameTaken(key.name).into());
        }
        let about = (key.id, Some(edited.row));
        let is_as_seen = record_about(&mut tx, about, place, (now, actor), edited.change).await?;
        if !is_as_seen {
            return Ok(None);
        }
        tx.commit().await?;
        self.published().await;
        Ok(Some(key))
    }
}
