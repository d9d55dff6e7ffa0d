//! Registering: who makes their own account, and with which role. Never one that they choose.

use std::time::Duration;

use primitives::{Classify, ErrorKind, Secret, UserId};
use serde::Deserialize;

use crate::audit::{Action, Actor, Change, Seen as _, record};
use crate::credential::SecretHash;
use crate::identity::Identity;
use crate::model::Role;
use crate::organisations::DEFAULT_ORG;
use crate::origin::Origin;
use crate::password::PasswordError;
use crate::profile::ProfileEdit;
use crate::setup::normalised_username;
use crate::store;
use crate::users::{User, UserError, add};

/// Who may make their own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// Nobody: administrators make people.
    Closed,
    /// Who has an invitation.
    #[default]
    Invite,
    /// Everybody, as a user of the first organisation; invitations work too.
    Open,
}

impl Registration {
    /// Names the rule as it is configured.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Invite => "invite",
            Self::Open => "open",
        }
    }

    /// Finds a rule by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Closed, Self::Invite, Self::Open]
            .into_iter()
            .find(|rule| rule.as_str() == name)
    }
}

/// Who registers.
#[derive(Clone, Debug)]
pub struct RegistrationRequest {
    /// The name to sign in with.
    pub username: String,
    /// The password.
    pub password: Secret<String>,
    /// What they tell of themselves.
    pub profile: ProfileEdit,
    /// The invitation's secret.
    pub invitation: Option<Secret<String>>,
    /// Where the request comes from.
    pub origin: Origin,
}

/// Why nobody was registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// Nobody can register.
    #[error("registration is closed")]
    Closed,
    /// Only who is invited can register.
    #[error("registration takes an invitation")]
    InvitationMissing,
    /// The invitation is wrong, was used or withdrawn, or has ended.
    #[error("the invitation is not valid")]
    Invitation,
    /// Too many registrations from one address.
    #[error("too many people register from here")]
    TooManyAttempts {
        /// How long to wait before the next one.
        wait: Duration,
    },
    /// The person cannot be made.
    #[error(transparent)]
    User(#[from] UserError),
}

impl From<::store::StoreError> for RegistrationError {
    fn from(error: ::store::StoreError) -> Self {
        Self::User(error.into())
    }
}

impl From<PasswordError> for RegistrationError {
    fn from(error: PasswordError) -> Self {
        Self::User(error.into())
    }
}

impl Classify for RegistrationError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Closed | Self::InvitationMissing | Self::Invitation => ErrorKind::Forbidden,
            Self::TooManyAttempts { .. } => ErrorKind::TooMany,
            Self::User(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Closed => format!("{self}: ask an administrator for an account"),
            Self::InvitationMissing => format!("{self}: ask an administrator for one"),
            Self::Invitation => format!("{self}: it works once; ask an administrator for another"),
            Self::TooManyAttempts { wait } => format!(
                "{self}: try again in {} s",
                wait.as_secs().saturating_add(1)
            ),
            Self::User(error) => error.public_message(),
        }
    }
}

impl Identity {
    /// Makes an account for who asks for it, as far as the configuration allows that. The role is the invitation's, else `user`.
    pub async fn register(&self, request: RegistrationRequest) -> Result<User, RegistrationError> {
        let policy = self.inner.policies.load().registration;
        match (policy, &request.invitation) {
            (Registration::Closed, _) => return Err(RegistrationError::Closed),
            (Registration::Invite, None) => return Err(RegistrationError::InvitationMissing),
            _ => {}
        }
        self.inner
            .registrations
            .attempt(&request.origin.ip, self.inner.clock.monotonic())
            .map_err(|wait| RegistrationError::TooManyAttempts { wait })?;
        let username = normalised_username(&request.username).ok_or(UserError::Username)?;
        let now = self.inner.clock.now();
        let mut user = User {
            id: UserId::generate(now),
            org_id: DEFAULT_ORG,
            username,
            email: None,
            display_name: None,
            role: Role::User,
            custom_role: None,
            created_at: now,
            disabled_at: None,
        };
        request.profile.apply(&mut user)?;
        let invitation = request
            .invitation
            .map(|secret| SecretHash::of(secret.expose()));
        // Hashing costs, so the invitation is looked at first and used up only afterwards.
        if let Some(hash) = &invitation {
            let mut tx = self.inner.db.read().await?;
            let found = store::find_invitation(&mut tx, hash, now).await?;
            tx.commit().await?;
            found.ok_or(RegistrationError::Invitation)?;
        }
        let password_hash = self
            .inner
            .passwords
            .hash(request.password, &user.username)
            .await?;
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        if let Some(hash) = &invitation {
            let found = store::find_invitation(&mut tx, hash, now)
                .await?
                .ok_or(RegistrationError::Invitation)?;
            if !store::take_invitation(&mut tx, found.id).await? {
                return Err(RegistrationError::Invitation);
            }
            user.org_id = found.org_id;
            user.role = found.role;
        }
        add(&mut tx, &user, password_hash).await?;
        let change = Change {
            action: Action::UserRegister,
            org: Some(user.org_id),
            subject: ("user", Some(user.id.to_string())),
            old: None,
            new: Some(user.seen()),
        };
        let actor = Actor::person(user.id, &user.username, &request.origin);
        record(&mut tx, now, &actor, change).await?;
        tx.commit().await?;
        Ok(user)
    }
}
