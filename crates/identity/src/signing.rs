//! The keys that sign access tokens: made here, sealed in the database, replaced in good time, published for others to verify with.
//!
//! A key is published for a while before it signs, so that every replica and every verifier knows it by then, and is kept after
//! another has taken over for longer than any token lives. Signatures are Ed25519 (RFC 8032), tokens JWS with `EdDSA` (RFC 8037).

use std::fmt;
use std::time::Duration;

use ::store::{SealError, Sealer};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::{DecodingKey, EncodingKey};
use primitives::Timestamp;

use crate::known_tokens::KnownTokens;

/// How long a key signs before another takes over.
const SIGNS_FOR: Duration = Duration::from_hours(30 * 24);
/// How long a key is published before it signs.
const PUBLISHED_AHEAD: Duration = Duration::from_hours(1);
/// How long a key is kept after another has taken over. Access tokens live an hour.
const KEPT_AFTER: Duration = Duration::from_hours(2);

/// A key as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredKey {
    /// Names the key in a token's head.
    pub(crate) id: String,
    pub(crate) public_key: Vec<u8>,
    /// Sealed.
    pub(crate) private_key: Vec<u8>,
    pub(crate) created_at: Timestamp,
    pub(crate) signs_from: Timestamp,
}

/// Why no key could be made or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SigningError {
    /// The cryptographic library refused.
    #[error("no signing key could be made")]
    Generation,
    /// The key could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl StoredKey {
    /// Makes a key that signs from `signs_from` on.
    pub(crate) fn generate(
        sealer: &Sealer,
        now: Timestamp,
        signs_from: Timestamp,
    ) -> Result<Self, SigningError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| SigningError::Generation)?;
        let pair =
            Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| SigningError::Generation)?;
        let id = hex::encode(rand::random::<[u8; 8]>());
        Ok(Self {
            private_key: sealer.seal(&place(&id), document.as_ref())?,
            public_key: pair.public_key().as_ref().to_vec(),
            id,
            created_at: now,
            signs_from,
        })
    }
}

pub(crate) fn place(id: &str) -> String {
    format!("signing_keys|private_key|{id}")
}

/// A key that is ready for use.
pub(crate) struct SigningKey {
    pub(crate) id: String,
    /// 32 bytes.
    pub(crate) public_key: Vec<u8>,
    pub(crate) verifying: DecodingKey,
    /// Absent when it was sealed with another key than ours: what it has signed is still verified.
    pub(crate) signing: Option<EncodingKey>,
    signs_from: Timestamp,
}

/// All keys of one moment, the newest first, and the tokens that were verified with them.
pub(crate) struct SigningKeys {
    keys: Vec<SigningKey>,
    pub(crate) known: KnownTokens,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| &key.id);
        f.debug_list().entries(ids).finish()
    }
}

impl SigningKeys {
    pub(crate) fn none() -> Self {
        Self {
            keys: Vec::new(),
            known: KnownTokens::new(),
        }
    }

    /// Opens the stored keys.
    pub(crate) fn open(mut stored: Vec<StoredKey>, sealer: &Sealer) -> Self {
        stored.sort_by_key(|key| std::cmp::Reverse(key.signs_from));
        let keys = stored.into_iter().map(|key| {
            let opened = sealer.open(&place(&key.id), &key.private_key);
            SigningKey {
                signing: opened
                    .ok()
                    .map(|document| EncodingKey::from_ed_der(document.expose())),
                verifying: DecodingKey::from_ed_der(&key.public_key),
                public_key: key.public_key,
                id: key.id,
                signs_from: key.signs_from,
            }
        });
        Self {
            keys: keys.collect(),
            known: KnownTokens::new(),
        }
    }

    /// Tells whether these are the stored keys.
    pub(crate) fn are(&self, stored: &[StoredKey]) -> bool {
        self.keys.len() == stored.len()
            && stored
                .iter()
                .all(|key| self.keys.iter().any(|ours| ours.id == key.id))
    }

    /// Returns the key that signs now.
    pub(crate) fn current(&self, now: Timestamp) -> Option<&SigningKey> {
        self.keys
            .iter()
            .find(|key| key.signs_from <= now && key.signing.is_some())
    }

    /// Returns the key of this name.
    pub(crate) fn find(&self, id: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Returns every key that tokens may be signed with, the newest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &SigningKey> {
        self.keys.iter()
    }

    /// Tells what has to be done so that there is a key to sign with at all times.
    pub(crate) fn plan(&self, now: Timestamp) -> Plan {
        let newest = self.keys.iter().find(|key| key.signing.is_some());
        let make = match newest {
            None => Some(now),
            Some(newest) => {
                let taken_over = newest.signs_from.after(SIGNS_FOR);
                let due = now.after(PUBLISHED_AHEAD) >= taken_over;
                due.then(|| taken_over.max(now.after(PUBLISHED_AHEAD)))
            }
        };
        let taken_over = self
            .keys
            .iter()
            .filter(|key| key.signing.is_some() && key.signs_from.after(KEPT_AFTER) <= now)
            .map(|key| key.signs_from)
            .max();
        let drop = self
            .keys
            .iter()
            .filter(|key| taken_over.is_some_and(|since| key.signs_from < since))
            .map(|key| key.id.clone())
            .collect();
        Plan { make, drop }
    }
}

/// What has to be done with the keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// From when on a new key shall sign.
    pub(crate) make: Option<Timestamp>,
    /// The keys that nothing valid is signed with any more.
    pub(crate) drop: Vec<String>,
}

impl Plan {
    pub(crate) fn is_empty(&self) -> bool {
        self.make.is_none() && self.drop.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use primitives::Secret;

    fn sealer(byte: u8) -> Sealer {
        Sealer::from_base64(&Secret::new(STANDARD.encode([byte; 32]))).unwrap()
    }

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_hours(hours))
    }

    #[test]
    fn a_key_is_published_ahead_signs_a_month_and_outlives_its_tokens() {
        let sealer = sealer(1);
        let mut stored = Vec::new();
        let (mut made, mut dropped, mut signers) = (Vec::new(), Vec::new(), Vec::new());
        for hour in 0..(62 * 24) {
            let now = at(hour);
            let keys = SigningKeys::open(stored.clone(), &sealer);
            let plan = keys.plan(now);
            if let Some(signs_from) = plan.make {
                made.push((hour, signs_from));
                stored.push(StoredKey::generate(&sealer, now, signs_from).unwrap());
            }
            for id in plan.drop {
                dropped.push(hour);
                stored.retain(|key| key.id != id);
            }
            let keys = SigningKeys::open(stored.clone(), &sealer);
            let signer = keys.current(now).unwrap().id.clone();
            if signers.last() != Some(&signer) {
                signers.push(signer);
            }
        }
        assert_eq!(made, [(0, at(0)), (719, at(720)), (1439, at(1440))]);
        assert_eq!(dropped, [722, 1442]);
        assert_eq!(signers.len(), 3);
    }

    #[test]
    fn a_key_of_another_sealer_verifies_and_is_replaced_at_once() {
        let stored = vec![StoredKey::generate(&sealer(1), at(0), at(0)).unwrap()];
        let keys = SigningKeys::open(stored.clone(), &sealer(2));
        assert!(keys.current(at(5)).is_none());
        assert!(keys.find(&stored[0].id).is_some());
        assert_eq!(
            keys.plan(at(5)),
            Plan {
                make: Some(at(5)),
                drop: Vec::new()
            }
        );
    }
}
