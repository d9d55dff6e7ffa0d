//! Access tokens whose signature was verified: a signature costs some fifty microseconds, and a token is presented many times.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Mutex, PoisonError};

use primitives::{SessionId, Timestamp};

use crate::credential::SecretHash;
use crate::snapshot::Spread;

/// Parts that are locked on their own.
const SHARDS: usize = 16;
/// The most tokens of one part. At the bound the part starts afresh, which costs a verification each.
const CAPACITY: usize = 1024;

/// What a token said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) session: SessionId,
    pub(crate) expires_at: Timestamp,
}

type Shard = HashMap<SecretHash, Verified, BuildHasherDefault<Spread>>;

/// Verified tokens by their hash.
#[derive(Debug)]
pub(crate) struct KnownTokens {
    shards: [Mutex<Shard>; SHARDS],
}

impl KnownTokens {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    pub(crate) fn get(&self, hash: &SecretHash) -> Option<Verified> {
        self.shard(hash)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(hash)
            .copied()
    }

    pub(crate) fn insert(&self, hash: SecretHash, verified: Verified) {
        let Some(shard) = self.shard(&hash) else {
            return;
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= CAPACITY {
            shard.clear();
        }
        shard.insert(hash, verified);
    }

    fn shard(&self, hash: &SecretHash) -> Option<&Mutex<Shard>> {
        // The map takes the low bits.
        self.shards.get((hash.spread() >> 60) as usize % SHARDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let known = KnownTokens::new();
        let verified = Verified {
            session: SessionId::generate(Timestamp::from_micros(0)),
            expires_at: Timestamp::from_micros(1),
        };
        for number in 0..(SHARDS * CAPACITY * 2) {
            known.insert(SecretHash::of(&number.to_string()), verified);
        }
        let held: usize = known
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert!(held <= SHARDS * CAPACITY && held > 0);
        known.insert(SecretHash::of("last"), verified);
        assert_eq!(known.get(&SecretHash::of("last")), Some(verified));
        assert_eq!(known.get(&SecretHash::of("never")), None);
    }
}
