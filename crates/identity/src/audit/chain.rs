//! The hash that ties a record to the one before it.

use std::fmt;

use super::commitment::Proof;
use super::record::AuditRecord;

/// The hash of a record: BLAKE3 over the hash before and every column, each with its length; in place of what names a person the
/// commitments to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainHash([u8; 32]);

impl ChainHash {
    /// What stands before the first record.
    pub(crate) const START: Self = Self([0; 32]);

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self).ok()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Writes the hash as text.
    pub(crate) fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// Reads what [`Self::to_hex`] wrote.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        Self::from_slice(&hex::decode(text).ok()?)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Computes the hash of a record that follows `before`.
pub(crate) fn hash_of(before: ChainHash, record: &AuditRecord) -> ChainHash {
    let mut hasher = blake3::Hasher::new();
    let commitments = match &record.proof {
        Proof::Commitments { commitments, .. } => Some(commitments.as_slice()),
        Proof::Values | Proof::Gone => None,
    };
    hasher.update(match commitments {
        Some(_) => b"remuda audit 2",
        None => b"remuda audit 1",
    });
    hasher.update(before.as_bytes());
    hasher.update(&record.seq.to_le_bytes());
    hasher.update(&record.at.as_micros().to_le_bytes());
    let org = record.org_id.map(|id| id.to_string());
    let mut add = |field: Option<&str>| match field {
        // An absent field is told from an empty one.
        None => {
            hasher.update(&[0]);
        }
        Some(text) => {
            hasher.update(&[1]);
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    };
    add(Some(&record.action));
    add(Some(&record.actor_kind));
    add(record.actor_id.as_deref());
    if commitments.is_none() {
        add(Some(&record.actor_name));
    }
    add(org.as_deref());
    add(Some(&record.subject_kind));
    add(record.subject_id.as_deref());
    match commitments {
        None => {
            add(record.ip.as_deref());
            add(record.user_agent.as_deref());
            add(record.old.as_deref());
            add(record.new.as_deref());
        }
        Some(commitments) => {
            hasher.update(commitments);
        }
    }
    ChainHash(*hasher.finalize().as_bytes())
}
