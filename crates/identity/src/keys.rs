//! API keys: made by administrators, shown once, revoked at once.

use ::store::StoreError;
use primitives::{Classify, ErrorKind, InvalidCursor, KeyId, OrgId, Secret, Timestamp};
use serde_json::Value;
use web::ETag;

use crate::audit::{Action, Change, Seen as _, record_about};
use crate::credential::{CredentialKind, SecretHash, generate, shown_prefix};
use crate::extract::OrgAdmin;
use crate::identity::Identity;
use crate::key_scope::KeyScope;
use crate::model::{KeyLimits, PriorityClass};
use crate::organisations::UnknownOrganisation;
use crate::permission::Beyond;
use crate::snapshot::UsageOwner;
use crate::store;

/// The most characters of a key's name.
const LONGEST_NAME: usize = 100;
/// The most patterns of a key's model list.
const MOST_MODELS: usize = 100;
/// The most characters of one pattern.
const LONGEST_MODEL: usize = 200;
/// The largest limit of a key: leaves room for sums of many.
const MOST_TOKENS: u64 = 1_000_000_000_000_000;
/// The most keys of one organisation that are not revoked.
const MOST_KEYS_OF_ONE: u64 = 5_000;
/// The most keys of all organisations that are not revoked: all of them are held in memory.
const MOST_KEYS: u64 = 20_000;

/// An API key without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// The organisation it belongs to.
    pub org_id: OrgId,
    /// What it is called.
    pub name: String,
    /// The first characters of its secret, to recognise it by.
    pub prefix: String,
    /// What it may do; less where the person it belongs to may do less.
    pub scope: KeyScope,
    /// The models it may use; all when absent.
    pub models: Option<Vec<String>>,
    /// The soonest class its requests may have; any when absent.
    pub priority: Option<PriorityClass>,
    /// How much it may use.
    pub limits: KeyLimits,
    /// Whether answers to its requests may serve identical ones of its organisation.
    pub share_identical: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, as far as that is stored.
    pub last_used_at: Option<Timestamp>,
    /// Whether the person it belongs to is disabled, which stops the key too.
    pub owner_disabled: bool,
}

/// Whether a key works.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It works.
    Active,
    /// The person it belongs to is disabled; it works again with them.
    OwnerDisabled,
    /// Its time has passed.
    Expired,
    /// An administrator ended it.
    Revoked,
}

impl KeyStatus {
    /// Names the state as it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::OwnerDisabled => "owner_disabled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl ApiKey {
    /// Returns the version of what can be changed of it.
    pub fn version(&self) -> ETag {
        ETag::of(&self.seen())
    }

    /// Tells whether the key works at `now`.
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        if self.revoked_at.is_some() {
            KeyStatus::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            KeyStatus::Expired
        } else if self.owner_disabled {
            KeyStatus::OwnerDisabled
        } else {
            KeyStatus::Active
        }
    }
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// What it is called: 1 to 100 characters. Its owner has no other key of that name that works.
    pub name: String,
    /// What it may do: nothing that the caller may not.
    pub scope: KeyScope,
    /// The organisation it belongs to; the caller's when absent.
    pub org_id: Option<OrgId>,
    /// The models it may use, at most 100 patterns that may end in `*`; all when absent.
    pub models: Option<Vec<String>>,
    /// The soonest class its requests may have; any when absent.
    pub priority: Option<PriorityClass>,
    /// How much it may use.
    pub limits: KeyLimits,
    /// Whether answers to its requests may serve identical ones of its organisation, and the other way round.
    pub share_identical: bool,
    /// When it ends by itself; never when absent.
    pub expires_at: Option<Timestamp>,
}

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateKeyError {
    /// The name is empty, too long, or has control characters.
    #[error("a key's name has 1 to {LONGEST_NAME} printable characters")]
    Name,
    /// The list of models is too long, or has an empty or too long pattern.
    #[error(
        "the models are 1 to {MOST_MODELS} names of 1 to {LONGEST_MODEL} characters, with * only at the end"
    )]
    Models,
    /// The end lies in the past.
    #[error("the key would have expired before it was made")]
    Expiry,
    /// A limit is zero or beyond all measure.
    #[error("a limit of a key lies between 1 and {MOST_TOKENS}")]
    Limits,
    /// It would do more than the caller may.
    #[error(transparent)]
    Beyond(#[from] Beyond),
    /// The organisation is not one of the caller's.
    #[error(transparent)]
    Organisation(#[from] UnknownOrganisation),
    /// The owner has a key of that name.
    #[error("you have a key named {0:?} already")]
    NameTaken(String),
    /// The organisation has too many keys.
    #[error("the organisation has {MOST_KEYS_OF_ONE} keys already")]
    TooMany,
    /// There are too many keys.
    #[error("there are {MOST_KEYS} keys already")]
    TooManyInAll,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for CreateKeyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Name | Self::Models | Self::Expiry | Self::Limits => ErrorKind::Invalid,
            Self::Beyond(error) => error.kind(),
            Self::Organisation(error) => error.kind(),
            Self::NameTaken(_) | Self::TooMany | Self::TooManyInAll => ErrorKind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Name | Self::Models => self.to_string(),
            Self::Limits => format!("{self}: leave it out for no limit"),
            Self::Beyond(error) => error.public_message(),
            Self::Organisation(error) => error.public_message(),
            Self::Expiry => "`expires_at` lies in the past: give a later time, or none".to_owned(),
            Self::NameTaken(_) => format!("{self}: choose another name, or revoke that key first"),
            Self::TooMany | Self::TooManyInAll => {
                format!("{self}: revoke some that are not used any more")
            }
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Why a key was not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeKeyError {
    /// There is no key with this id.
    #[error("there is no key {0}")]
    Unknown(KeyId),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for RevokeKeyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Unknown(_) => format!("{self}: `remuda key list` shows the ids"),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Why no keys could be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListKeysError {
    /// The organisation is not one of the caller's.
    #[error(transparent)]
    Organisation(#[from] UnknownOrganisation),
    /// There is no key with this id, as far as the caller may know.
    #[error("there is no key {0}")]
    Unknown(KeyId),
    /// The cursor is not ours.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for ListKeysError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::Organisation(error) => error.kind(),
            Self::Cursor(_) => ErrorKind::Invalid,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Organisation(error) => error.public_message(),
            Self::Unknown(_) => format!("{self}: `remuda key list` shows the ids"),
            Self::Cursor(error) => error.to_string(),
            Self::Store(error) => error.public_message(),
        }
    }
}

impl Identity {
    /// Makes a key, which belongs to the caller and never does more than they may. Its secret is told only now.
    pub async fn create_key(
        &self,
        admin: &OrgAdmin,
        request: KeyRequest,
    ) -> Result<(ApiKey, Secret<String>), CreateKeyError> {
        let now = self.inner.clock.now();
        let request = checked(request, now)?;
        let org_id = admin.one_org(request.org_id)?;
        admin.rights().cover(request.scope.rights())?;
        let secret = generate(CredentialKind::Key);
        let key = ApiKey {
            id: KeyId::generate(now),
            org_id,
            name: request.name,
            prefix: shown_prefix(&secret),
            scope: request.scope,
            models: request.models,
            priority: request.priority,
            limits: request.limits,
            share_identical: request.share_identical,
            created_at: now,
            expires_at: request.expires_at,
            revoked_at: None,
            last_used_at: None,
            owner_disabled: false,
        };
        let (mut tx, place) = store::begin_change(&self.inner.db).await?;
        // A key made through a key is its owner's too: it ends with their rights.
        let user_id = admin.principal().user;
        if !store::has_organisation(&mut tx, org_id).await? {
            return Err(UnknownOrganisation(org_id).into());
        }
        let live = store::count_live_keys(&mut tx, org_id).await?;
        if live.own >= MOST_KEYS_OF_ONE {
            return Err(CreateKeyError::TooMany);
        }
        if live.all >= MOST_KEYS {
            return Err(CreateKeyError::TooManyInAll);
        }
        if store::has_live_key_named(&mut tx, user_id, &key.name, now).await? {
            return Err(CreateKeyError::NameTaken(key.name));
        }
        let change = changed(Action::KeyCreate, &key, None);
        let row = store::insert_key(&key, &SecretHash::of(secret.expose()), user_id);
        record_about(
            &mut tx,
            (key.id, Some(row)),
            place,
            (now, &admin.actor()),
            change,
        )
        .await?;
        tx.commit().await?;
        self.published().await;
        Ok((key, secret))
    }

    /// Revokes a key; when this returns, the key no longer works here. Revoking again changes nothing.
    pub async fn revoke_key(&self, admin: &OrgAdmin, id: KeyId) -> Result<(), RevokeKeyError> {
        let now = self.inner.clock.now();
        let (mut tx, place) = store::begin_change(&self.inner.db).await?;
        let found = store::find_key(&mut tx, admin.scope(), id).await?;
        let mut key = found.ok_or(RevokeKeyError::Unknown(id))?.key;
        if key.revoked_at.is_none() {
            let old = key.seen();
            key.revoked_at = Some(now);
            let change = changed(Action::KeyRevoke, &key, Some(old));
            let row = store::revoke_key(id, now);
            record_about(
                &mut tx,
                (id, Some(row)),
                place,
                (now, &admin.actor()),
                change,
            )
            .await?;
            tx.commit().await?;
        }
        self.withdrawn(|entry| entry.usage.owner == UsageOwner::Key(id))
            .await;
        Ok(())
    }
}

/// Describes the change of a key for the journal.
pub(crate) fn changed(action: Action, key: &ApiKey, old: Option<Value>) -> Change {
    Change {
        action,
        org: Some(key.org_id),
        subject: ("key", Some(key.id.to_string())),
        old,
        new: Some(key.seen()),
    }
}

/// Refuses what a key cannot be.
pub(crate) fn checked(
    mut request: KeyRequest,
    now: Timestamp,
) -> Result<KeyRequest, CreateKeyError> {
    request.name = request.name.trim().to_owned();
    let printable = |text: &str, most: usize| {
        (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    };
    if !printable(&request.name, LONGEST_NAME) {
        return Err(CreateKeyError::Name);
    }
    if let Some(models) = &request.models {
        let pattern = |text: &String| {
            printable(text, LONGEST_MODEL) && !text.strip_suffix('*').unwrap_or(text).contains('*')
        };
        if models.is_empty() || models.len() > MOST_MODELS || !models.iter().all(pattern) {
            return Err(CreateKeyError::Models);
        }
    }
    let limits = request.limits;
    let amounts = [
        limits.requests_per_minute.map(u64::from),
        limits.tokens_per_minute,
        limits.tokens_per_month,
    ];
    if !amounts
        .into_iter()
        .flatten()
        .all(|amount| (1..=MOST_TOKENS).contains(&amount))
    {
        return Err(CreateKeyError::Limits);
    }
    if request.expires_at.is_some_and(|end| end <= now) {
        return Err(CreateKeyError::Expiry);
    }
    Ok(request)
}
