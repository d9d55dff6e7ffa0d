//! Proving that the journal is whole.

use ::store::StoreError;
use primitives::{Classify, ErrorKind};

use super::chain::{ChainHash, hash_of};
use super::commitment::{Proof, holds};
use crate::extract::Admin;
use crate::identity::Identity;
use crate::store;

/// How many records are read at once.
const CHUNK: u32 = 1_000;

/// How the journal stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainState {
    /// The records that were found to be as they were written, from the oldest on.
    pub verified: u64,
    /// The number of the oldest record; earlier ones are past their retention.
    pub first: Option<i64>,
    /// The number of the last record that was verified.
    pub last: Option<i64>,
    /// Records of which something was erased with a person; what is left of them is as it was written.
    pub erased: u64,
    /// Among them those of an earlier build, whose hash cannot be computed again without what was erased.
    pub followed: u64,
    /// The first record that is not as it was written.
    pub broken: Option<Broken>,
}

/// A record that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its number.
    pub seq: i64,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Why the journal could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for ChainError {
    fn kind(&self) -> ErrorKind {
        let Self::Store(error) = self;
        error.kind()
    }

    fn public_message(&self) -> String {
        let Self::Store(error) = self;
        error.public_message()
    }
}

impl Identity {
    /// Computes every record's hash again, from the oldest on, and names the first that is not as it was written.
    pub async fn verify_audit(&self, _admin: &Admin) -> Result<ChainState, ChainError> {
        let mut tx = self.inner.db.read().await?;
        let (mut seq, mut hash) = store::audit_base(&mut tx)
            .await?
            .unwrap_or((0, ChainHash::START));
        let head = store::audit_head(&mut tx).await?;
        let head = head.map(|(seq, hash, _)| (seq, hash));
        let mut state = ChainState {
            verified: 0,
            first: None,
            last: None,
            erased: 0,
            followed: 0,
            broken: None,
        };
        let broken = loop {
            let records = store::audit_after(&mut tx, seq, CHUNK).await?;
            if records.is_empty() {
                break match head {
                    Some((last, stored)) if (last, stored) != (seq, hash) => Some(Broken {
                        seq: seq + 1,
                        reason: "it is missing: records were removed from the end",
                    }),
                    _ => None,
                };
            }
            let mut broken = None;
            for (record, stored) in records {
                let reason = if record.seq != seq + 1 {
                    Some((seq + 1, "it is missing"))
                } else if record.proof != Proof::Gone && hash_of(hash, &record) != stored
                    || !holds(&record).0
                {
                    Some((
                        record.seq,
                        "it is not as it was written, or the one before it is not",
                    ))
                } else {
                    None
                };
                if let Some((seq, reason)) = reason {
                    broken = Some(Broken { seq, reason });
                    break;
                }
                state.erased += u64::from(holds(&record).1);
                state.followed += u64::from(record.proof == Proof::Gone);
                seq = record.seq;
                hash = stored;
                state.first.get_or_insert(seq);
                state.last = Some(seq);
                state.verified += 1;
            }
            if broken.is_some() {
                break broken;
            }
        };
        tx.commit().await?;
        state.broken = broken;
        Ok(state)
    }
}
