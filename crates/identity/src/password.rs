//! Passwords: Argon2id, off the async threads, a few at a time.
//!
//! Hashes of bcrypt, as other systems made them, are verified too, and replaced when their owner signs in.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use primitives::{Classify, ErrorKind, Secret};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::argon::Argon;
use crate::refused_passwords::is_common;

/// How many passwords are hashed at once; each takes 19 MiB and a core for some 20 ms.
const RUNNING: usize = 8;
/// How many more may wait for their turn.
const WAITING: usize = 64;

/// A hash of nothing, with the cost of a real one, so that unknown names take as long as known ones.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What stands in place of the hash of who has no password: the hash of nothing, which no password has.
pub(crate) const NO_PASSWORD: &str = DECOY;

/// How hashes begin as they are made now.
const PRESENT: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

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
    /// One that is tried first when a password is guessed.
    #[error("the password is among the 10,000 most common ones")]
    Common,
    /// The person's own name.
    #[error("the password is the user name")]
    Username,
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
            Self::Length | Self::Common | Self::Username => ErrorKind::Invalid,
            Self::Busy => ErrorKind::TooMany,
            Self::Failed => ErrorKind::Bug,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Length => self.to_string(),
            Self::Common | Self::Username => {
                format!(
                    "{self}: choose another, such as a few words that nobody else would put together"
                )
            }
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

    /// Hashes a new password of the person of this name.
    pub(crate) async fn hash(
        &self,
        password: Secret<String>,
        username: &str,
    ) -> Result<String, PasswordError> {
        check(password.expose(), username)?;
        self.run(move || hashed(&password)).await
    }

    /// Hashes a verified password anew where its stored hash is not as new ones are.
    pub(crate) async fn renewed(
        &self,
        password: Secret<String>,
        stored: &str,
    ) -> Result<Option<String>, PasswordError> {
        if stored.starts_with(PRESENT) {
            return Ok(None);
        }
        self.run(move || hashed(&password)).await.map(Some)
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
            if let Some(stored) = stored.as_deref().filter(|stored| stored.starts_with("$2")) {
                return bcrypt::verify(password.expose(), stored)
                    .map_err(|_| PasswordError::Failed);
            }
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

/// Refuses what is guessed soon.
fn check(password: &str, username: &str) -> Result<(), PasswordError> {
    if password.chars().count() < SHORTEST || password.len() > LONGEST {
        return Err(PasswordError::Length);
    }
    if is_common(password) {
        return Err(PasswordError::Common);
    }
    if password.to_lowercase() == username.to_lowercase() {
        return Err(PasswordError::Username);
    }
    Ok(())
}

fn hashed(password: &Secret<String>) -> Result<String, PasswordError> {
    Argon
        .hash_password(password.expose().as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|_| PasswordError::Failed)
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
        let hash = passwords
            .hash(secret("correct horse"), "ann")
            .await
            .unwrap();
        assert!(hash.starts_with(PRESENT));
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
    async fn passwords_that_are_guessed_soon_are_refused() {
        let passwords = Passwords::new();
        for (text, reason) in [
            ("seven77", "at least 8"),
            (&"x".repeat(LONGEST + 1), "at least 8"),
            ("Password1", "most common"),
            ("Annabella", "the user name"),
        ] {
            let refusal = passwords.hash(secret(text), "annabella").await.unwrap_err();
            assert!(refusal.public_message().contains(reason), "{text}");
        }
    }

    #[tokio::test]
    async fn other_hashes_are_verified_and_made_anew() {
        let passwords = Passwords::new();
        let weaker =
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        // From the test vectors of jBCrypt.
        let bcrypt = "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i";
        for (password, stored) in [("password", weaker), ("abc", bcrypt)] {
            let verify = async |text| {
                passwords
                    .verify(secret(text), Some(stored.to_owned()))
                    .await
                    .unwrap()
            };
            assert!(verify(password).await, "{stored}");
            assert!(!verify("another").await, "{stored}");
            let renewed = passwords.renewed(secret(password), stored).await.unwrap();
            let renewed = renewed.unwrap();
            assert!(renewed.starts_with(PRESENT));
            let again = passwords.renewed(secret(password), &renewed).await.unwrap();
            assert_eq!(again, None);
        }
    }
}
