//! Signing in. Guessing is slowed down by account, and much sooner by account and origin.

use std::net::IpAddr;
use std::time::Duration;

use ::store::{SealError, StoreError};
use primitives::{Classify, ErrorKind, Secret};

use crate::access_token::TokenError;
use crate::audit::{Action, Actor, Change, record};
use crate::identity::Identity;
use crate::origin::Origin;
use crate::password::PasswordError;
use crate::second_factor::SecondFactorError;
use crate::sessions::{SignIn, start_session};
use crate::setup::normalised_username;
use crate::store;
use crate::users::UserError;

/// A person's name, for the lockout.
pub(crate) type Account = String;
/// A person's name and where the attempt comes from, when that is known.
pub(crate) type AccountFrom = (String, Option<IpAddr>);

/// Who wants to sign in.
#[derive(Clone, Debug)]
pub struct SignInRequest {
    /// The person's name; case makes no difference.
    pub username: String,
    /// The person's password.
    pub password: Secret<String>,
    /// A one-time code or a recovery code, for who has a second factor.
    pub code: Option<Secret<String>>,
    /// Where the attempt comes from.
    pub origin: Origin,
}

/// Why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The name or the password is wrong, or the user is disabled; which of them is not told.
    #[error("the user name or the password is not right")]
    Wrong,
    /// The password is right, and a code is wanted too.
    #[error("a code of the second factor is missing")]
    CodeMissing,
    /// The password is right, and the code is not, or was used before.
    #[error("the code is not right, or was used before")]
    WrongCode,
    /// The secret of the second factor could not be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Too many wrong attempts.
    #[error("too many attempts to sign in as this user")]
    TooManyAttempts {
        /// How long to wait before the next attempt.
        wait: Duration,
    },
    /// The password could not be checked.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// No access token could be issued.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SecondFactorError> for SignInError {
    fn from(error: SecondFactorError) -> Self {
        match error {
            SecondFactorError::Seal(error) => Self::Seal(error),
            SecondFactorError::User(UserError::Store(error)) => Self::Store(error),
            SecondFactorError::TooManyAttempts { wait } => Self::TooManyAttempts { wait },
            SecondFactorError::Enabled
            | SecondFactorError::None
            | SecondFactorError::WrongCode
            | SecondFactorError::User(_) => Self::WrongCode,
        }
    }
}

impl Classify for SignInError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Wrong | Self::CodeMissing | Self::WrongCode => ErrorKind::Unauthenticated,
            Self::Seal(error) => error.kind(),
            Self::TooManyAttempts { .. } => ErrorKind::TooMany,
            Self::Password(error) => error.kind(),
            Self::Token(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Wrong => "the user name or the password is not right".to_owned(),
            Self::CodeMissing => {
                "this takes a code of your authenticator too, or a recovery code: send it as `code`"
                    .to_owned()
            }
            Self::WrongCode => {
                format!("{self}: wait for the next one, and check the device's clock")
            }
            Self::Seal(error) => error.public_message(),
            Self::TooManyAttempts { wait } => format!(
                "too many attempts to sign in as this user: try again in {} s",
                wait.as_secs().saturating_add(1)
            ),
            Self::Password(error) => error.public_message(),
            Self::Token(error) => error.public_message(),
            Self::Store(error) => error.public_message(),
        }
    }
}

impl Identity {
    /// Signs a person in. A password that is stored as an older hash gets a present one.
    pub async fn sign_in(&self, request: SignInRequest) -> Result<SignIn, SignInError> {
        let result = self.sign_in_by_password(request).await;
        self.inner.metrics.signed_in(&result);
        result
    }

    async fn sign_in_by_password(&self, request: SignInRequest) -> Result<SignIn, SignInError> {
        let account = normalised_username(&request.username).ok_or(SignInError::Wrong)?;
        let account_from = (account.clone(), request.origin.ip);
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
        let passwords = &self.inner.passwords;
        let right = passwords
            .verify(request.password.clone(), stored.clone())
            .await?;
        let Some(user) = user.filter(|_| right) else {
            return Err(SignInError::Wrong);
        };
        let renewed = passwords
            .renewed(request.password, &user.password_hash)
            .await?;

        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let now = self.inner.clock.now();
        if user.second_factor {
            let code = request.code.ok_or(SignInError::CodeMissing)?;
            if !self.take_code(&mut tx, user.id, &code).await? {
                return Err(SignInError::WrongCode);
            }
        }
        let mut hash = user.password_hash;
        if let Some(renewed) = renewed {
            if !store::replace_password(&mut tx, user.id, &hash, renewed.clone()).await? {
                return Err(SignInError::Wrong);
            }
            hash = renewed;
        }
        let started = start_session(&mut tx, user.id, &hash, &request.origin, now)
            .await?
            .ok_or(SignInError::Wrong)?;
        for session in std::iter::once(&started.held.session).chain(&started.ended) {
            store::note_changed(&mut tx, session).await?;
        }
        let change = Change {
            action: Action::SignIn,
            org: Some(user.org_id),
            subject: ("session", Some(started.held.session.to_string())),
            old: None,
            new: Some(serde_json::json!({"second_factor": user.second_factor})),
        };
        let actor = Actor::person(user.id, &account, &request.origin);
        record(&mut tx, now, &actor, change).await?;
        tx.commit().await?;
        self.inner.by_origin.succeed(&account_from);
        self.inner.by_account.succeed(&account);
        self.published().await;
        Ok(self.issued(started)?)
    }
}
