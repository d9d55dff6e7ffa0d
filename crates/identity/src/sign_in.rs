//! Signing in and out. Guessing is slowed down by account, and much sooner by account and origin.

use std::net::IpAddr;
use std::time::Duration;

use ::store::{StoreError, Tx};
use primitives::{Classify, ErrorKind, Secret, SessionId, Timestamp, UserId};

use crate::credential::{CredentialKind, SecretHash, generate};
use crate::identity::Identity;
use crate::password::PasswordError;
use crate::setup::normalised_username;
use crate::snapshot::UsageOwner;
use crate::store::{self, SessionRow};

/// How long a session lasts.
const SESSION_LIFE: Duration = Duration::from_hours(24);

/// The most sessions of one person; the oldest end first.
const SESSIONS_PER_USER: i64 = 100;

/// A person's name, for the lockout.
pub(crate) type Account = String;
/// A person's name and where the attempt comes from, when that is known.
pub(crate) type AccountFrom = (String, Option<IpAddr>);

/// A new session.
#[derive(Debug)]
pub struct SignIn {
    /// The secret to present as `Authorization: Bearer`; told only now.
    pub token: Secret<String>,
    /// When the session ends.
    pub expires_at: Timestamp,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The name or the password is wrong, or the user is disabled; which of them is not told.
    #[error("the user name or the password is not right")]
    Wrong,
    /// Too many wrong attempts.
    #[error("too many attempts to sign in as this user")]
    TooManyAttempts {
        /// How long to wait before the next attempt.
        wait: Duration,
    },
    /// The password could not be checked.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for SignInError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Wrong => ErrorKind::Unauthenticated,
            Self::TooManyAttempts { .. } => ErrorKind::TooMany,
            Self::Password(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Wrong => "the user name or the password is not right".to_owned(),
            Self::TooManyAttempts { wait } => format!(
                "too many attempts to sign in as this user: try again in {} s",
                wait.as_secs().saturating_add(1)
            ),
            Self::Password(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}

impl Identity {
    /// Signs a person in. `origin` is where the attempt comes from, when that is known.
    pub async fn sign_in(
        &self,
        username: &str,
        password: Secret<String>,
        origin: Option<IpAddr>,
    ) -> Result<SignIn, SignInError> {
        let account = normalised_username(username).ok_or(SignInError::Wrong)?;
        let account_from = (account.clone(), origin);
        let at = self.inner.clock.monotonic();
        let too_many = |wait| SignInError::TooManyAttempts { wait };
        self.inner
            .by_origin
            .attempt(&account_from, at)
            .map_err(too_many)?;
        self.inner
            .by_account
            .attempt(&account, at)
            .map_err(too_many)?;

        let mut tx = self.inner.db.read().await?;
        let user = store::find_account(&mut tx, &account)
            .await?
            .filter(|user| user.disabled_at.is_none());
        tx.commit().await?;
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let right = self.inner.passwords.verify(password, stored).await?;
        let Some(user) = user.filter(|_| right) else {
            return Err(SignInError::Wrong);
        };

        let mut tx = self.inner.db.write().await?;
        store::advance_generation(&mut tx).await?;
        let now = self.inner.clock.now();
        let sign_in = start_session(&mut tx, user.id, &user.password_hash, now)
            .await?
            .ok_or(SignInError::Wrong)?;
        tx.commit().await?;
        self.inner.by_origin.succeed(&account_from);
        self.inner.by_account.succeed(&account);
        self.published().await;
        Ok(sign_in)
    }

    /// Ends the session that the secret belongs to. Returns `false` when there is none.
    pub async fn sign_out(&self, token: &str) -> Result<bool, StoreError> {
        let token_hash = SecretHash::of(token);
        // Anybody may send anything here: only a session that works may cost the database a write.
        let Some(session) = self.snapshot().session_of(&token_hash) else {
            return Ok(false);
        };
        let mut tx = self.inner.db.write().await?;
        store::advance_generation(&mut tx).await?;
        if !store::delete_session(&mut tx, &token_hash).await? {
            return Ok(false);
        }
        tx.commit().await?;
        self.withdrawn(UsageOwner::Session(session)).await;
        Ok(true)
    }
}

/// Makes a session of the user within the caller's transaction. Returns `None` when the password that was verified is theirs no
/// more, or they were disabled meanwhile.
pub(crate) async fn start_session(
    tx: &mut Tx,
    user_id: UserId,
    verified_hash: &str,
    now: Timestamp,
) -> Result<Option<SignIn>, StoreError> {
    let token = generate(CredentialKind::Session);
    let expires_at = now.after(SESSION_LIFE);
    let session = SessionRow {
        id: SessionId::generate(now),
        user_id,
        token_hash: SecretHash::of(token.expose()),
        created_at: now,
        expires_at,
    };
    if !store::insert_session(tx, session, verified_hash).await? {
        return Ok(None);
    }
    store::trim_sessions(tx, user_id, SESSIONS_PER_USER, now).await?;
    Ok(Some(SignIn { token, expires_at }))
}
