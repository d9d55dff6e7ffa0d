//! The second factor: a one-time code beside the password, enrolled by the person, with recovery codes for who has lost the device.

use std::time::Duration;

use ::store::{SealError, StoreError, Tx};
use primitives::{Classify, ErrorKind, Secret, UserId};

use crate::audit::{Action, Change, record};
use crate::credential::SecretHash;
use crate::extract::{Caller, OrgAdmin};
use crate::identity::Identity;
use crate::model::PrincipalKind;
use crate::roles::rights_of;
use crate::store::{self, StoredTotp};
use crate::totp::{TotpSecret, recovery_codes, recovery_hash};
use crate::users::UserError;

/// A secret to put into an authenticator; told only now.
#[derive(Debug)]
pub struct Enrolment {
    /// To be typed.
    pub secret: Secret<String>,
    /// To be scanned: an `otpauth` URI.
    pub uri: Secret<String>,
}

/// How a person's second factor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecondFactor {
    /// Whether signing in takes a code.
    pub enabled: bool,
    /// The recovery codes that were not used.
    pub recovery_codes_left: u64,
}

/// Why a second factor was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SecondFactorError {
    /// There is one already.
    #[error("there is a second factor already")]
    Enabled,
    /// There is none to confirm or to remove.
    #[error("there is no second factor")]
    None,
    /// The code is wrong, or was used before.
    #[error("the code is not right, or was used before")]
    WrongCode,
    /// Too many wrong attempts.
    #[error("too many attempts with a wrong password or code")]
    TooManyAttempts {
        /// How long to wait before the next attempt.
        wait: Duration,
    },
    /// The secret could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It concerns no person, or the present password was not given rightly.
    #[error(transparent)]
    User(#[from] UserError),
}

impl From<StoreError> for SecondFactorError {
    fn from(error: StoreError) -> Self {
        Self::User(error.into())
    }
}

impl Classify for SecondFactorError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Enabled | Self::None => ErrorKind::Conflict,
            Self::WrongCode => ErrorKind::Forbidden,
            Self::TooManyAttempts { .. } => ErrorKind::TooMany,
            Self::Seal(error) => error.kind(),
            Self::User(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Enabled => format!("{self}: disable it first"),
            Self::None => format!("{self}: begin with `POST /api/v1/me/totp`"),
            Self::WrongCode => {
                format!("{self}: wait for the next one, and check the device's clock")
            }
            Self::TooManyAttempts { wait } => format!(
                "{self}: try again in {} s",
                wait.as_secs().saturating_add(1)
            ),
            Self::Seal(error) => error.public_message(),
            Self::User(error) => error.public_message(),
        }
    }
}

impl Identity {
    /// Shows how the caller's second factor stands.
    pub async fn second_factor(&self, caller: &Caller) -> Result<SecondFactor, SecondFactorError> {
        let user = person(caller)?;
        let mut tx = self.inner.db.read().await?;
        let stored = store::find_totp(&mut tx, user).await?;
        let recovery_codes_left = store::count_recovery_codes(&mut tx, user).await?;
        tx.commit().await?;
        Ok(SecondFactor {
            enabled: stored.is_some_and(|stored| stored.confirmed_at.is_some()),
            recovery_codes_left,
        })
    }

    /// Begins to enrol an authenticator, in place of an enrolment that was not confirmed. Takes the present password, so that a session
    /// alone does not lock its owner out.
    pub async fn begin_second_factor(
        &self,
        caller: &Caller,
        password: Secret<String>,
    ) -> Result<Enrolment, SecondFactorError> {
        let user = person(caller)?;
        self.check_present_password(caller, password).await?;
        let secret = TotpSecret::generate();
        let sealed = secret.seal(&self.inner.sealer, user)?;
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        if !store::begin_totp(&mut tx, user, &sealed).await? {
            return Err(SecondFactorError::Enabled);
        }
        tx.commit().await?;
        let uri = secret
            .uri(&self.inner.issuer, &caller.principal().name)
            .ok_or(SecondFactorError::Seal(SealError::Cipher))?;
        Ok(Enrolment {
            secret: secret.base32(),
            uri,
        })
    }

    /// Confirms the enrolment with a code of the authenticator. From now on signing in takes a code. Returns the recovery codes, which
    /// are told only now.
    pub async fn confirm_second_factor(
        &self,
        caller: &Caller,
        code: &Secret<String>,
    ) -> Result<Vec<Secret<String>>, SecondFactorError> {
        let user = person(caller)?;
        self.attempt_code(caller)?;
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let stored = store::find_totp(&mut tx, user)
            .await?
            .ok_or(SecondFactorError::None)?;
        if stored.confirmed_at.is_some() {
            return Err(SecondFactorError::Enabled);
        }
        if !self.take_totp(&mut tx, user, &stored, code).await? {
            return Err(SecondFactorError::WrongCode);
        }
        let now = self.inner.clock.now();
        store::confirm_totp(&mut tx, user, now).await?;
        let codes = renewed_codes(&mut tx, user).await?;
        self.journal(&mut tx, caller, Action::SecondFactorEnable)
            .await?;
        tx.commit().await?;
        self.code_accepted(caller);
        Ok(codes)
    }

    /// Makes new recovery codes in place of the earlier ones. Takes a code.
    pub async fn renew_recovery_codes(
        &self,
        caller: &Caller,
        code: &Secret<String>,
    ) -> Result<Vec<Secret<String>>, SecondFactorError> {
        let user = person(caller)?;
        self.attempt_code(caller)?;
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        if !self.take_code(&mut tx, user, code).await? {
            return Err(SecondFactorError::WrongCode);
        }
        let codes = renewed_codes(&mut tx, user).await?;
        self.journal(&mut tx, caller, Action::RecoveryCodesRenew)
            .await?;
        tx.commit().await?;
        self.code_accepted(caller);
        Ok(codes)
    }

    /// Disables the caller's second factor. Takes the present password and a code.
    pub async fn disable_second_factor(
        &self,
        caller: &Caller,
        password: Secret<String>,
        code: &Secret<String>,
    ) -> Result<(), SecondFactorError> {
        let user = person(caller)?;
        self.check_present_password(caller, password).await?;
        self.attempt_code(caller)?;
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        if !self.take_code(&mut tx, user, code).await? {
            return Err(SecondFactorError::WrongCode);
        }
        store::remove_totp(&mut tx, user).await?;
        self.journal(&mut tx, caller, Action::SecondFactorDisable)
            .await?;
        tx.commit().await?;
        self.code_accepted(caller);
        Ok(())
    }

    /// Disables the second factor of a person who has lost their device and their recovery codes. Their sessions end.
    pub async fn remove_second_factor(
        &self,
        admin: &OrgAdmin,
        id: UserId,
    ) -> Result<(), SecondFactorError> {
        if admin.principal().user == Some(id) {
            return Err(UserError::Oneself.into());
        }
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        let user = store::find_user_by_id(&mut tx, admin.scope(), id)
            .await?
            .ok_or(UserError::Unknown(id))?;
        let theirs = rights_of(&mut tx, &user).await?;
        admin.rights().cover(theirs).map_err(UserError::from)?;
        if !store::remove_totp(&mut tx, id).await? {
            return Err(SecondFactorError::None);
        }
        store::delete_sessions(&mut tx, id).await?;
        let change = Change {
            action: Action::SecondFactorRemove,
            org: Some(user.org_id),
            subject: ("user", Some(id.to_string())),
            old: None,
            new: None,
        };
        let now = self.inner.clock.now();
        record(&mut tx, now, &admin.actor(), change).await?;
        tx.commit().await?;
        self.sessions_ended(id, None).await;
        Ok(())
    }

    /// Counts an attempt with a code of the caller's: six digits are guessed soon without.
    fn attempt_code(&self, caller: &Caller) -> Result<(), SecondFactorError> {
        let account = caller.principal().name.to_string();
        let from = (account, caller.origin().ip);
        self.inner
            .by_origin
            .attempt(&from, self.inner.clock.monotonic())
            .map_err(|wait| SecondFactorError::TooManyAttempts { wait })
    }

    /// Forgets the wrong attempts after a right one.
    fn code_accepted(&self, caller: &Caller) {
        let account = caller.principal().name.to_string();
        self.inner.by_origin.succeed(&(account, caller.origin().ip));
    }

    /// Records a change of the caller's own second factor.
    async fn journal(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        action: Action,
    ) -> Result<(), StoreError> {
        let change = Change {
            action,
            org: Some(caller.principal().org),
            subject: ("user", caller.principal().id()),
            old: None,
            new: None,
        };
        record(tx, self.inner.clock.now(), &caller.actor(), change).await
    }

    /// Uses a code of a confirmed authenticator up, or a recovery code. Returns `false` when it is neither, or was used before.
    pub(crate) async fn take_code(
        &self,
        tx: &mut Tx,
        user: UserId,
        code: &Secret<String>,
    ) -> Result<bool, SecondFactorError> {
        let stored = store::find_totp(tx, user)
            .await?
            .filter(|stored| stored.confirmed_at.is_some())
            .ok_or(SecondFactorError::None)?;
        if let Some(hash) = recovery_hash(user, code.expose()) {
            return Ok(store::take_recovery_code(tx, user, &hash).await?);
        }
        self.take_totp(tx, user, &stored, code).await
    }

    async fn take_totp(
        &self,
        tx: &mut Tx,
        user: UserId,
        stored: &StoredTotp,
        code: &Secret<String>,
    ) -> Result<bool, SecondFactorError> {
        let secret = TotpSecret::open(&self.inner.sealer, user, &stored.secret)?;
        match secret.step_of(code.expose(), self.inner.clock.now()) {
            Some(step) => Ok(store::take_step(tx, user, step).await?),
            None => Ok(false),
        }
    }
}

async fn renewed_codes(tx: &mut Tx, user: UserId) -> Result<Vec<Secret<String>>, StoreError> {
    let codes = recovery_codes();
    let hashes: Vec<SecretHash> = codes
        .iter()
        .filter_map(|code| recovery_hash(user, code.expose()))
        .collect();
    store::put_recovery_codes(tx, user, &hashes).await?;
    Ok(codes)
}

fn person(caller: &Caller) -> Result<UserId, UserError> {
    match caller.principal().kind {
        PrincipalKind::User(id) => Ok(id),
        PrincipalKind::Key(_) | PrincipalKind::Anonymous => Err(UserError::NoPerson),
    }
}
