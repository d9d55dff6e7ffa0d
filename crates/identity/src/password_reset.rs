//! A way back for who has lost their password: an administrator hands out a token that works once, and never learns the password.

use std::time::Duration;

use ::store::StoreError;
use primitives::{Classify, ErrorKind, Secret, Timestamp, UserId};
use serde_json::json;

use crate::audit::{Action, Actor, Change, record};
use crate::credential::{CredentialKind, SecretHash, generate};
use crate::extract::OrgAdmin;
use crate::identity::Identity;
use crate::organisations::OrgScope;
use crate::origin::Origin;
use crate::password::PasswordError;
use crate::roles::rights_of;
use crate::store;
use crate::users::UserError;

/// How long a token works.
const TOKEN_LIFE: Duration = Duration::from_hours(24);

/// A way back for one person.
#[derive(Debug)]
pub struct PasswordReset {
    /// The token; told only now.
    pub token: Secret<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Why a password was not reset.
#[derive(Debug, thiserror::Error)]
pub enum PasswordResetError {
    /// The token is wrong, was used, or has ended.
    #[error("the token is not valid")]
    Token,
    /// The password cannot be used; the token still works.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for PasswordResetError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Token => ErrorKind::Forbidden,
            Self::Password(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Token => {
                format!("{self}: it works once and for a day; ask an administrator for another")
            }
            Self::Password(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}

impl Identity {
    /// Makes a way back for a person, in place of an earlier one. Until it is used nothing of theirs changes.
    pub async fn start_password_reset(
        &self,
        admin: &OrgAdmin,
        id: UserId,
    ) -> Result<PasswordReset, UserError> {
        if admin.principal().user == Some(id) {
            return Err(UserError::OwnPassword);
        }
        let token = generate(CredentialKind::PasswordReset);
        let now = self.inner.clock.now();
        let expires_at = now.after(TOKEN_LIFE);
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let user = store::find_user_by_id(&mut tx, admin.scope(), id)
            .await?
            .ok_or(UserError::Unknown(id))?;
        admin
            .rights()
            .cover(rights_of(&mut tx, &user).await?)
            .map_err(UserError::from)?;
        let hash = SecretHash::of(token.expose());
        store::put_reset(&mut tx, id, &hash, now, expires_at).await?;
        let change = Change {
            action: Action::PasswordResetStart,
            org: Some(user.org_id),
            subject: ("user", Some(id.to_string())),
            old: None,
            new: Some(json!({"expires_at": expires_at})),
        };
        record(&mut tx, now, &admin.actor(), change).await?;
        tx.commit().await?;
        Ok(PasswordReset { token, expires_at })
    }

    /// Gives the person whom the token belongs to another password, and ends all their sessions.
    pub async fn reset_password(
        &self,
        token: &Secret<String>,
        password: Secret<String>,
        origin: &Origin,
    ) -> Result<(), PasswordResetError> {
        let token_hash = SecretHash::of(token.expose());
        let now = self.inner.clock.now();
        // Hashing costs, so the token is looked at first and used up only afterwards.
        let mut tx = self.inner.db.read().await?;
        let found = store::find_reset(&mut tx, &token_hash, now).await?;
        tx.commit().await?;
        let (_, username) = found.ok_or(PasswordResetError::Token)?;
        let hash = self.inner.passwords.hash(password, &username).await?;
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let (id, _) = store::find_reset(&mut tx, &token_hash, now)
            .await?
            .ok_or(PasswordResetError::Token)?;
        if !store::take_reset(&mut tx, &token_hash).await? {
            return Err(PasswordResetError::Token);
        }
        let user = store::find_user_by_id(&mut tx, OrgScope::All, id)
            .await?
            .ok_or(PasswordResetError::Token)?;
        store::update_password(&mut tx, user.org_id, id, hash).await?;
        store::delete_sessions(&mut tx, id).await?;
        let change = Change {
            action: Action::PasswordReset,
            org: Some(user.org_id),
            subject: ("user", Some(id.to_string())),
            old: None,
            new: None,
        };
        let actor = Actor::person(id, &username, origin);
        record(&mut tx, now, &actor, change).await?;
        tx.commit().await?;
        self.inner.by_account.succeed(&username);
        self.sessions_ended(id, None).await;
        Ok(())
    }
}
