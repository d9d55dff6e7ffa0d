//! People: made, listed, changed and disabled by the administrators of their organisation.

use std::time::Duration;

use ::store::{StoreError, Tx};
use primitives::{Classify, ErrorKind, InvalidCursor, OrgId, Secret, Timestamp, UserId};
use serde_json::json;
use web::{ChangedMeanwhile, ETag, IfMatch};

use crate::audit::{Action, Change, Seen as _, record};
use crate::extract::{Caller, OrgAdmin};
use crate::identity::Identity;
use crate::model::{PrincipalKind, Role};
use crate::organisations::UnknownOrganisation;
use crate::password::PasswordError;
use crate::permission::Beyond;
use crate::profile::{LONGEST_DISPLAY_NAME, LONGEST_EMAIL};
use crate::roles::rights_of;
use crate::setup::{LONGEST_USERNAME, normalised_username};
use crate::store;

/// The most people of one organisation.
const MOST_USERS_OF_ONE: u64 = 10_000;
/// The most people of all organisations.
const MOST_USERS: u64 = 100_000;

/// A person, without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Their organisation.
    pub org_id: OrgId,
    /// The name they sign in with; unique in all organisations.
    pub username: String,
    /// Where they are reached; unique in all organisations.
    pub email: Option<String>,
    /// What they are called.
    pub display_name: Option<String>,
    /// What they may do in their organisation; `viewer` where they have a role of its own.
    pub role: Role,
    /// The role of the organisation's own that they have.
    pub custom_role: Option<String>,
    /// When they were made.
    pub created_at: Timestamp,
    /// Since when they may not sign in any more.
    pub disabled_at: Option<Timestamp>,
}

/// Whom to make.
#[derive(Clone, Debug)]
pub struct UserRequest {
    /// The name to sign in with: 1 to 100 letters, digits or the characters `. _ - @`; case makes no difference.
    pub username: String,
    /// The first password.
    pub password: Secret<String>,
    /// What they may do.
    pub role: WantedRole,
    /// Their organisation; the caller's when absent.
    pub org_id: Option<OrgId>,
}

/// A role that somebody shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedRole {
    /// One that every organisation has.
    BuiltIn(Role),
    /// One of the organisation's own, by name.
    Custom(String),
}

/// What to change of a person. Absent: stays.
#[derive(Clone, Debug, Default)]
pub struct UserEdit {
    /// Another role.
    pub role: Option<WantedRole>,
    /// Whether they may not sign in. Disabling ends their sessions and stops their keys.
    pub disabled: Option<bool>,
    /// Another password, for who has lost theirs. Ends all their sessions.
    pub password: Option<Secret<String>>,
}

impl User {
    /// Returns the version of what can be changed of them.
    pub fn version(&self) -> ETag {
        ETag::of(&self.seen())
    }

    /// Tells whether they administer their organisation and may sign in to do so.
    pub(crate) fn administers(&self) -> bool {
        self.role == Role::Admin && self.disabled_at.is_none()
    }
}

impl UserEdit {
    /// Refuses what administrators may do to others and not to themselves.
    fn check_for_oneself(&self) -> Result<(), UserError> {
        let stays = |role: &WantedRole| *role == WantedRole::BuiltIn(Role::Admin);
        let steps_down = self.role.as_ref().is_some_and(|role| !stays(role));
        if steps_down || self.disabled == Some(true) {
            return Err(UserError::Oneself);
        }
        if self.password.is_some() {
            return Err(UserError::OwnPassword);
        }
        Ok(())
    }
}

/// Why a person was not made, changed or listed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name cannot be used.
    #[error("a user name has 1 to {LONGEST_USERNAME} letters, digits or the characters . _ - @")]
    Username,
    /// Somebody has the name.
    #[error("the user name {0:?} is taken")]
    UsernameTaken(String),
    /// Somebody has the address.
    #[error("the address {0:?} belongs to somebody else")]
    EmailTaken(String),
    /// The address is none.
    #[error("an email address has the form name@host and at most {LONGEST_EMAIL} characters")]
    Email,
    /// The name to be shown cannot be used.
    #[error("a name to be shown has at most {LONGEST_DISPLAY_NAME} printable characters")]
    DisplayName,
    /// The organisation has too many people.
    #[error("the organisation has {MOST_USERS_OF_ONE} people already")]
    TooMany,
    /// There are too many people.
    #[error("there are {MOST_USERS} people already")]
    TooManyInAll,
    /// There is no such person, as far as the caller may know.
    #[error("there is no user {0}")]
    Unknown(UserId),
    /// The caller is no person: keys and anonymous callers have no password.
    #[error("only people who are signed in have a password")]
    NoPerson,
    /// The present password was not given rightly.
    #[error("the present password is not right")]
    WrongPassword,
    /// Too many wrong attempts.
    #[error("too many attempts with a wrong password")]
    TooManyAttempts {
        /// How long to wait before the next attempt.
        wait: Duration,
    },
    /// The caller would lock themselves out.
    #[error("administrators cannot disable themselves or give up their own role")]
    Oneself,
    /// The caller would change their own password without the present one.
    #[error("one's own password is not reset but changed, which takes the present one")]
    OwnPassword,
    /// The organisation would have nobody left to administer it.
    #[error("the user is the last administrator of their organisation who can sign in")]
    LastAdmin,
    /// The organisation has no such role.
    #[error("the organisation has no role {0:?}")]
    NoRole(String),
    /// It would give, or concerns somebody who has, more than the caller.
    #[error(transparent)]
    Beyond(#[from] Beyond),
    /// The person is not as the caller believes.
    #[error(transparent)]
    Changed(#[from] ChangedMeanwhile),
    /// The organisation is not one of the caller's.
    #[error(transparent)]
    Organisation(#[from] UnknownOrganisation),
    /// The password cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The cursor is not ours.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for UserError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Username
            | Self::Email
            | Self::DisplayName
            | Self::NoRole(_)
            | Self::Cursor(_) => ErrorKind::Invalid,
            Self::Beyond(error) => error.kind(),
            Self::UsernameTaken(_)
            | Self::EmailTaken(_)
            | Self::TooMany
            | Self::TooManyInAll
            | Self::Oneself
            | Self::OwnPassword
            | Self::LastAdmin => ErrorKind::Conflict,
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::NoPerson | Self::WrongPassword => ErrorKind::Forbidden,
            Self::TooManyAttempts { .. } => ErrorKind::TooMany,
            Self::Changed(error) => error.kind(),
            Self::Organisation(error) => error.kind(),
            Self::Password(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Username | Self::Email | Self::DisplayName => self.to_string(),
            Self::EmailTaken(_) => format!("{self}: give another one"),
            Self::UsernameTaken(_) => format!("{self}: choose another"),
            Self::TooMany | Self::TooManyInAll => format!("{self}: no more can be made"),
            Self::Unknown(_) => format!("{self}: `GET /api/v1/users` shows those you may see"),
            Self::NoPerson => format!("{self}: sign in with `remuda login`"),
            Self::WrongPassword => format!("{self}: give the one you signed in with"),
            Self::TooManyAttempts { wait } => format!(
                "{self}: try again in {} s",
                wait.as_secs().saturating_add(1)
            ),
            Self::Oneself => format!("{self}: ask another administrator to do it"),
            Self::OwnPassword => format!("{self}: use `PUT /api/v1/me/password`"),
            Self::NoRole(_) => format!("{self}: `remuda role list` shows those there are"),
            Self::Beyond(error) => error.public_message(),
            Self::LastAdmin => format!("{self}: make somebody else an administrator first"),
            Self::Changed(error) => error.public_message(),
            Self::Organisation(error) => error.public_message(),
            Self::Password(error) => error.public_message(),
            Self::Cursor(error) => error.to_string(),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Gives a person a role, which must be one of their organisation's.
async fn give(tx: &mut Tx, user: &mut User, role: WantedRole) -> Result<(), UserError> {
    match role {
        WantedRole::BuiltIn(role) => {
            user.role = role;
            user.custom_role = None;
        }
        WantedRole::Custom(name) => {
            if store::find_role(tx, user.org_id, &name).await?.is_none() {
                return Err(UserError::NoRole(name));
            }
            user.role = Role::Viewer;
            user.custom_role = Some(name);
        }
    }
    Ok(())
}

/// Adds a person within the caller's transaction, which has counted its change.
pub(crate) async fn add(tx: &mut Tx, user: &User, password_hash: String) -> Result<(), UserError> {
    if !store::has_organisation(tx, user.org_id).await? {
        return Err(UnknownOrganisation(user.org_id).into());
    }
    let people = store::count_users(tx, user.org_id).await?;
    if people.own >= MOST_USERS_OF_ONE {
        return Err(UserError::TooMany);
    }
    if people.all >= MOST_USERS {
        return Err(UserError::TooManyInAll);
    }
    store::insert_user(tx, user, password_hash)
        .await
        .map_err(|error| taken(error, user))
}

/// Names what another person has already.
pub(crate) fn taken(error: StoreError, user: &User) -> UserError {
    if error.is_conflict("users_username") {
        UserError::UsernameTaken(user.username.clone())
    } else if error.is_conflict("users_email") {
        UserError::EmailTaken(user.email.clone().unwrap_or_default())
    } else {
        error.into()
    }
}

impl Identity {
    /// Makes a person, who can sign in at once.
    pub async fn create_user(
        &self,
        admin: &OrgAdmin,
        request: UserRequest,
    ) -> Result<User, UserError> {
        let username = normalised_username(&request.username).ok_or(UserError::Username)?;
        let org_id = admin.one_org(request.org_id)?;
        let hash = self
            .inner
            .passwords
            .hash(request.password, &username)
            .await?;
        let now = self.inner.clock.now();
        let mut user = User {
            id: UserId::generate(now),
            org_id,
            username,
            email: None,
            display_name: None,
            role: Role::Viewer,
            custom_role: None,
            created_at: now,
            disabled_at: None,
        };
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        give(&mut tx, &mut user, request.role).await?;
        admin.rights().cover(rights_of(&mut tx, &user).await?)?;
        add(&mut tx, &user, hash).await?;
        let change = Change {
            action: Action::UserCreate,
            org: Some(user.org_id),
            subject: ("user", Some(user.id.to_string())),
            old: None,
            new: Some(user.seen()),
        };
        record(&mut tx, now, &admin.actor(), change).await?;
        tx.commit().await?;
        Ok(user)
    }

    /// Changes a person's role or password, or lets them in no more, or again. When this returns, sessions and keys of somebody disabled no
    /// longer work here, and those of somebody with a lesser role do no more than that.
    pub async fn edit_user(
        &self,
        admin: &OrgAdmin,
        id: UserId,
        edit: UserEdit,
        expected: &IfMatch,
    ) -> Result<User, UserError> {
        // A key is its owner's hand: what they may not do to themselves it may not either.
        if admin.principal().user == Some(id) {
            edit.check_for_oneself()?;
        }
        // Hashing takes longer than a transaction should.
        let hash = match edit.password {
            Some(password) => {
                let mut tx = self.inner.db.read().await?;
                let user = store::find_user_by_id(&mut tx, admin.scope(), id).await?;
                tx.commit().await?;
                let username = user.ok_or(UserError::Unknown(id))?.username;
                Some(self.inner.passwords.hash(password, &username).await?)
            }
            None => None,
        };
        let mut tx = self.inner.db.write_ordered().await?;
        // First, so that what is read next is changed by nobody else.
        store::advance_generation(&mut tx).await?;
        let mut user = store::find_user_by_id(&mut tx, admin.scope(), id)
            .await?
            .ok_or(UserError::Unknown(id))?;
        expected.check(|| user.version())?;
        admin.rights().cover(rights_of(&mut tx, &user).await?)?;
        let administered = user.administers();
        let old = user.seen();
        let resets_password = hash.is_some();
        let is_given = edit.role.is_some();
        if let Some(role) = edit.role {
            give(&mut tx, &mut user, role).await?;
        }
        let rights = rights_of(&mut tx, &user).await?;
        admin.rights().cover(rights)?;
        match edit.disabled {
            Some(true) => {
                user.disabled_at.get_or_insert(self.inner.clock.now());
            }
            Some(false) => user.disabled_at = None,
            None => {}
        }
        if administered
            && !user.administers()
            && !store::has_other_admin(&mut tx, user.org_id, id).await?
        {
            return Err(UserError::LastAdmin);
        }
        if edit.disabled == Some(true) || hash.is_some() {
            store::delete_sessions(&mut tx, id).await?;
        }
        if let Some(hash) = hash {
            store::update_password(&mut tx, user.org_id, id, hash).await?;
        }
        store::update_user(&mut tx, &user, is_given.then_some(user.role)).await?;
        let mut new = user.seen();
        if resets_password {
            new["password"] = json!("another one");
        }
        let change = Change {
            action: Action::UserEdit,
            org: Some(user.org_id),
            subject: ("user", Some(id.to_string())),
            old: Some(old),
            new: Some(new),
        };
        let now = self.inner.clock.now();
        record(&mut tx, now, &admin.actor(), change).await?;
        tx.commit().await?;
        if resets_password {
            self.sessions_ended(id, None).await;
        }
        let most = user.disabled_at.is_none().then_some(rights);
        self.restricted(id, most).await;
        Ok(user)
    }

    /// Makes sure that the caller knows their password, and returns its hash. Wrong attempts are slowed down.
    pub(crate) async fn check_present_password(
        &self,
        caller: &Caller,
        present: Secret<String>,
    ) -> Result<String, UserError> {
        let account = caller.principal().name.to_string();
        let from = (account.clone(), caller.origin().ip);
        let at = self.inner.clock.monotonic();
        let too_many = |wait| UserError::TooManyAttempts { wait };
        self.inner.by_origin.attempt(&from, at).map_err(too_many)?;
        self.inner
            .by_account
            .attempt(&account, at)
            .map_err(too_many)?;
        let mut tx = self.inner.db.read().await?;
        let stored = store::find_account(&mut tx, &account)
            .await?
            .map(|account| account.password_hash);
        tx.commit().await?;
        let right = self.inner.passwords.verify(present, stored.clone()).await?;
        let verified = stored.filter(|_| right).ok_or(UserError::WrongPassword)?;
        self.inner.by_origin.succeed(&from);
        self.inner.by_account.succeed(&account);
        Ok(verified)
    }

    /// Gives the caller another password. All their other sessions end; wrong attempts are slowed down as those to sign in are.
    pub async fn change_password(
        &self,
        caller: &Caller,
        present: Secret<String>,
        new: Secret<String>,
    ) -> Result<(), UserError> {
        let principal = caller.principal();
        let PrincipalKind::User(id) = principal.kind else {
            return Err(UserError::NoPerson);
        };
        let account = principal.name.to_string();
        let verified = self.check_present_password(caller, present).await?;
        let hash = self.inner.passwords.hash(new, &account).await?;
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        if !store::replace_password(&mut tx, id, &verified, hash).await? {
            return Err(UserError::WrongPassword);
        }
        let kept = principal.session;
        store::delete_sessions_but(&mut tx, id, kept).await?;
        let change = Change {
            action: Action::PasswordChange,
            org: Some(principal.org),
            subject: ("user", Some(id.to_string())),
            old: None,
            new: None,
        };
        let now = self.inner.clock.now();
        record(&mut tx, now, &caller.actor(), change).await?;
        tx.commit().await?;
        self.sessions_ended(id, kept).await;
        Ok(())
    }
}
