//! The first administrator: by the set-up token of the first start, or by a password given at start.

use ::store::{StoreError, Tx};
use primitives::{Classify, ErrorKind, Secret, UserId};

use crate::access_token::TokenError;
use crate::audit::{Action, Actor, Change, record};
use crate::credential::{CredentialKind, SecretHash, generate};
use crate::identity::{Identity, Inner, OpenError};
use crate::model::Role;
use crate::organisations::DEFAULT_ORG;
use crate::origin::Origin;
use crate::password::PasswordError;
use crate::sessions::{SignIn, start_session};
use crate::store;

/// The administrator that a password given at start belongs to.
const ADMIN: &str = "admin";

/// The most characters of a user name.
pub(crate) const LONGEST_USERNAME: usize = 100;

/// Whether there is an administrator yet.
#[derive(Debug)]
pub enum SetupState {
    /// There is one.
    Done,
    /// There is none, and this token makes one. It is told only now: show it to the person who started the gateway.
    TokenIssued(Secret<String>),
    /// There is none; the token was told at an earlier start and is still valid. Who lost it starts with an administrator's password.
    TokenPending,
}

/// Why the first administrator was not made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The token is wrong, or was used.
    #[error("the set-up token is not valid")]
    Token,
    /// There is an administrator already.
    #[error("the set-up was done before")]
    Done,
    /// The name cannot be used.
    #[error("a user name has 1 to {LONGEST_USERNAME} letters, digits or the characters . _ - @")]
    Username,
    /// The password cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// No access token could be issued; the administrator exists.
    #[error(transparent)]
    AccessToken(#[from] TokenError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for SetupError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Token => ErrorKind::Forbidden,
            Self::Done => ErrorKind::Conflict,
            Self::Username => ErrorKind::Invalid,
            Self::Password(error) => error.kind(),
            Self::AccessToken(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Token => "the set-up token is not valid: it was shown when the gateway first started; without it, start with REMUDA_ADMIN_PASSWORD set".to_owned(),
            Self::Done => "there is an administrator already: sign in with `remuda login`".to_owned(),
            Self::Username => self.to_string(),
            Self::Password(error) => error.public_message(),
            Self::AccessToken(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Makes sure at start that there is an administrator or a way to make one.
pub(crate) async fn prepare(
    inner: &Inner,
    admin_password: Option<Secret<String>>,
) -> Result<SetupState, OpenError> {
    if let Some(password) = admin_password {
        match ensure_admin(inner, password.clone(), inner.db.read().await?).await {
            // Another replica made the same administrator meanwhile: there is one to compare with now. Its commit may be
            // shared with ours, so who looks must take a turn.
            Err(OpenError::Store(error)) if error.is_conflict("users_username") => {
                ensure_admin(inner, password, inner.db.write_ordered().await?).await?;
            }
            outcome => outcome?,
        }
        return Ok(SetupState::Done);
    }
    let mut tx = inner.db.write().await?;
    if store::has_users(&mut tx).await? {
        return Ok(SetupState::Done);
    }
    let token = generate(CredentialKind::SetupToken);
    if !store::insert_setup_token(&mut tx, &SecretHash::of(token.expose())).await? {
        return Ok(SetupState::TokenPending);
    }
    tx.commit().await?;
    Ok(SetupState::TokenIssued(token))
}

async fn ensure_admin(
    inner: &Inner,
    password: Secret<String>,
    mut tx: Tx,
) -> Result<(), OpenError> {
    let found = store::find_account(&mut tx, ADMIN).await?;
    tx.commit().await?;
    if let Some(user) = &found {
        let unchanged = inner
            .passwords
            .verify(password.clone(), Some(user.password_hash.clone()))
            .await
            .unwrap_or(false);
        let administers = user.role == Role::Admin && user.org_id == DEFAULT_ORG;
        if unchanged && administers && user.disabled_at.is_none() {
            return Ok(());
        }
    }
    let hash = inner
        .passwords
        .hash(password, ADMIN)
        .await
        .map_err(OpenError::AdminPassword)?;
    let now = inner.clock.now();
    let mut tx = inner.db.write_ordered().await?;
    store::advance_generation(&mut tx).await?;
    let is_there = found.is_some();
    let id = if let Some(user) = found {
        store::reset_admin(&mut tx, user.id, hash).await?;
        user.id
    } else {
        let id = UserId::generate(now);
        store::insert_admin(&mut tx, id, ADMIN, hash, now).await?;
        id
    };
    let change = made_admin(Action::AdminByPassword, id, ADMIN);
    record(&mut tx, now, &Actor::system(), change).await?;
    store::delete_setup_token(&mut tx).await?;
    tx.commit().await?;
    if is_there {
        tracing::warn!(
            username = ADMIN,
            "the administrator's password was replaced by that of REMUDA_ADMIN_PASSWORD (auth.admin_password), as at every start where they differ; all sessions of this account have ended"
        );
    }
    Ok(())
}

fn made_admin(action: Action, id: UserId, username: &str) -> Change {
    Change {
        action,
        org: Some(DEFAULT_ORG),
        subject: ("user", Some(id.to_string())),
        old: None,
        new: Some(serde_json::json!({"username": username, "role": Role::Admin})),
    }
}

impl Identity {
    /// Makes the first administrator with the set-up token, and signs them in.
    pub async fn set_up(
        &self,
        token: &Secret<String>,
        username: &str,
        password: Secret<String>,
        origin: &Origin,
    ) -> Result<SignIn, SetupError> {
        let username = normalised_username(username).ok_or(SetupError::Username)?;
        // Hashing costs, so the token is looked at first and used up only afterwards, with the user.
        let token_hash = SecretHash::of(token.expose());
        self.check_setup_token(&token_hash).await?;
        let hash = self.inner.passwords.hash(password, &username).await?;
        let now = self.inner.clock.now();
        let user_id = UserId::generate(now);
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        if !store::take_setup_token(&mut tx, &token_hash).await? {
            return Err(SetupError::Done);
        }
        store::insert_admin(&mut tx, user_id, &username, hash.clone(), now).await?;
        let actor = Actor::person(user_id, &username, origin);
        let change = made_admin(Action::SetUp, user_id, &username);
        record(&mut tx, now, &actor, change).await?;
        let started = start_session(&mut tx, user_id, &hash, origin, now)
            .await?
            .ok_or(SetupError::Done)?;
        tx.commit().await?;
        self.published().await;
        Ok(self.issued(started)?)
    }

    async fn check_setup_token(&self, token_hash: &SecretHash) -> Result<(), SetupError> {
        let mut tx = self.inner.db.read().await?;
        let done = store::has_users(&mut tx).await?;
        let valid = store::is_setup_token(&mut tx, token_hash).await?;
        tx.commit().await?;
        match (done, valid) {
            (true, _) => Err(SetupError::Done),
            (false, false) => Err(SetupError::Token),
            (false, true) => Ok(()),
        }
    }
}

/// Returns the name as it is stored: without surrounding space, in lower case. `None` when it cannot be a name.
pub(crate) fn normalised_username(text: &str) -> Option<String> {
    let name = text.trim().to_lowercase();
    let fits = (1..=LONGEST_USERNAME).contains(&name.chars().count());
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    (fits && name.chars().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_compared_without_case_and_noise_is_refused() {
        assert_eq!(normalised_username(" Alice ").as_deref(), Some("alice"));
        assert_eq!(
            normalised_username("a.b-c_d@example.org").as_deref(),
            Some("a.b-c_d@example.org")
        );
        for text in ["", " ", "a b", "a\nb", "a/b", &"x".repeat(101)] {
            assert_eq!(normalised_username(text), None, "{text}");
        }
    }
}
