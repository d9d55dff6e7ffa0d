//! Sealing everything that is sealed here with another key than it was.

use ::store::{Sealer, StoreError, Tx};

use crate::identity::Identity;
use crate::store;

/// What sealing anew came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Values that are sealed with the present key now and were not before.
    pub resealed: u64,
    /// Values that no known key opens. They stay as they are.
    pub unreadable: u64,
}

impl Resealed {
    /// Adds what another domain came to.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            resealed: self.resealed + other.resealed,
            unreadable: self.unreadable + other.unreadable,
        }
    }

    /// Seals one value anew where that is needed, and counts it.
    pub fn reseal(&mut self, sealer: &Sealer, place: &str, envelope: &[u8]) -> Option<Vec<u8>> {
        match sealer.reseal(place, envelope) {
            Ok(Some(fresh)) => {
                self.resealed += 1;
                Some(fresh)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(place, error = %error, "a stored secret cannot be opened and stays as it is");
                self.unreadable += 1;
                None
            }
        }
    }
}

impl Identity {
    /// Seals the keys that sign, the secrets of second factors and kept answers with the present key, within the caller's
    /// transaction, which has begun with [`journal::begin`](crate::journal::begin).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reseal(&self, tx: &mut Tx) -> Result<Resealed, StoreError> {
        let sealer = &self.inner.sealer;
        let mut total = Resealed::default();
        for key in store::load_signing_keys(tx).await? {
            let place = crate::signing::place(&key.id);
            if let Some(sealed) = total.reseal(sealer, &place, &key.private_key) {
                store::put_signing_secret(tx, &key.id, sealed).await?;
            }
        }
        for (user, secret) in store::list_totp_secrets(tx).await? {
            let place = crate::totp::place(user);
            if let Some(sealed) = total.reseal(sealer, &place, &secret) {
                store::put_totp_secret(tx, user, sealed).await?;
            }
        }
        for (caller, name, answer) in store::list_answers(tx).await? {
            let place = crate::idempotency::place(&caller, &name);
            if let Some(sealed) = total.reseal(sealer, &place, &answer) {
                store::put_answer(tx, &caller, &name, sealed).await?;
            }
        }
        Ok(total)
    }
}
