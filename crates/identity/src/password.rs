//! Passwords: Argon2id, off the async threads, a few at a time.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use primitives::{Classify, ErrorKind, Secret};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::argon::Argon;

/// How many passwords are hashed at once; each takes 19 MiB and a core for some 20 ms.
const RUNNING: usize = 8;
/// How many more may wait for their turn.
const WAITING: usize = 64;

/// A hash of nothing, with the cost of a real one, so that unknown names take as long as known ones.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The fewest characters of a password.
const SHORTEST: usize = 8;
/// The most bytes of a password.
const LONGEST: usize = 1024;

/// Why a password could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error("a password has at least {SHORTEST} characters and at most {LONGEST} bytes")]
    Length,
    /// Too many sign-ins at this moment.
    #[error("too many passwords are being checked")]
    Busy,
    /// The hash function failed, or the stored hash is damaged.
    #[error("the password could not be checked")]
    Failed,
}

impl Classify for PasswordError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Length => ErrorKind::Invalid,
            Self::Busy => ErrorKind::TooMany,
            Self::Failed => ErrorKind::Bug,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Length => self.to_string(),
            Self::Busy => "too many people are signing in: try again in a moment".to_owned(),
            Self::Failed => "the password could not be checked: the log has the reason".to_owned(),
        }
    }
}

/// Hashes and checks passwords with bounded use of memory and cores.
#[derive(Debug)]
pub(crate) struct Passwords {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self {
            admitted: Arc::new(Semaphore::new(RUNNING + WAITING)),
            running: Arc::new(Semaphore::new(RUNNING)),
        }
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: Secret<String>) -> Result<String, PasswordError> {
        if password.expose().chars().count() < SHORTEST || password.expose().len() > LONGEST {
            return Err(PasswordError::Length);
        }
        self.run(move || {
            Argon
                .hash_password(password.expose().as_bytes())
                .map(|hash| hash.to_string())
                .map_err(|_| PasswordError::Failed)
        })
        .await
    }

    /// Checks a password against the stored hash; without one, takes as long and returns `false`.
    pub(crate) async fn verify(
        &self,
        password: Secret<String>,
        stored: Option<String>,
    ) -> Result<bool, PasswordError> {
        if password.expose().len() > LONGEST {
            return Ok(false);
        }
        self.run(move || {
            let hash = PasswordHash::new(stored.as_deref().unwrap_or(DECOY))
                .map_err(|_| PasswordError::Failed)?;
            let equal = Argon
                .verify_password(password.expose().as_bytes(), &hash)
                .is_ok();
            Ok(equal && stored.is_some())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| PasswordError::Busy)?;
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| PasswordError::Failed)?;
        // The permits go with the work: a client that leaves does not make room while its hash is still being computed.
        spawn_blocking(move || {
            let result = work();
            drop((running, admitted));
            result
        })
        .await
        .map_err(|_| PasswordError::Failed)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_right_password_is_accepted() {
        let passwords = Passwords::new();
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(
            passwords
                .verify(secret("correct horse"), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(secret("wrong horse"), Some(hash))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(secret("correct horse"), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn too_short_and_too_long_passwords_are_refused() {
        let passwords = Passwords::new();
        for text in ["seven77", &"x".repeat(LONGEST + 1)] {
            let refusal = passwords.hash(secret(text)).await;
            assert!(matches!(refusal, Err(PasswordError::Length)));
        }
    }
}
