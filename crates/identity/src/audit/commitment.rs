//! Salted commitments to what names a person in a record, so that it can be erased while the chain of hashes still holds.
//!
//! The record's hash covers SHA-256 over a salt of 16 random bytes, the value's place and the value. Without value and salt a commitment
//! tells nothing, since the salt cannot be guessed; with them it proves the value.

use aws_lc_rs::digest;

use super::record::AuditRecord;

/// How many values of a record are committed to: the actor's name, address and program, what was before, what was after.
const VALUES: usize = 5;
const COMMITMENT: usize = 32;
const SALT: usize = 16;

/// What stands in place of an erased name, which a record must have.
pub(crate) const ERASED: &str = "erased";

/// How a record's hash covers what names a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It covered the values of a record of an earlier build, which were erased: the hash cannot be computed again, only followed.
    Gone,
    /// By the values themselves: a record of an earlier build.
    Values,
    /// By commitments. A value without a salt was erased, or was never there where the commitment is all zero.
    Commitments {
        commitments: Vec<u8>,
        salts: Vec<u8>,
    },
}

/// Values of a record that name a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Who did it, from where and with which program.
    Actor,
    /// What was before and after.
    States,
}

impl Part {
    const fn places(self) -> std::ops::Range<usize> {
        match self {
            Self::Actor => 0..3,
            Self::States => 3..VALUES,
        }
    }
}

/// The database's number for each kind of proof.
impl Proof {
    pub(crate) const fn version(&self) -> i64 {
        match self {
            Self::Gone => 0,
            Self::Values => 1,
            Self::Commitments { .. } => 2,
        }
    }

    pub(crate) fn from_columns(
        version: i64,
        commitments: Option<Vec<u8>>,
        salts: Option<Vec<u8>>,
    ) -> Option<Self> {
        match (version, commitments, salts) {
            (0, None, None) => Some(Self::Gone),
            (1, None, None) => Some(Self::Values),
            (2, Some(commitments), Some(salts))
                if commitments.len() == VALUES * COMMITMENT && salts.len() == VALUES * SALT =>
            {
                Some(Self::Commitments { commitments, salts })
            }
            _ => None,
        }
    }

    pub(crate) fn columns(&self) -> (Option<&[u8]>, Option<&[u8]>) {
        match self {
            Self::Gone | Self::Values => (None, None),
            Self::Commitments { commitments, salts } => (Some(commitments), Some(salts)),
        }
    }
}

fn values(record: &AuditRecord) -> [Option<&str>; VALUES] {
    [
        Some(&record.actor_name),
        record.ip.as_deref(),
        record.user_agent.as_deref(),
        record.old.as_deref(),
        record.new.as_deref(),
    ]
}

fn commitment(place: usize, salt: &[u8], value: &str) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(salt);
    context.update(&(place as u64).to_le_bytes());
    context.update(value.as_bytes());
    context.finish()
}

/// Commits to a record's values with fresh salts.
pub(crate) fn commit(record: &AuditRecord) -> Proof {
    let mut commitments = vec![0; VALUES * COMMITMENT];
    let mut salts = vec![0; VALUES * SALT];
    for (place, value) in values(record).into_iter().enumerate() {
        let Some(value) = value else { continue };
        let salt: [u8; SALT] = rand::random();
        let of = commitment(place, &salt, value);
        if let (Some(to), Some(beside)) = (
            commitments.chunks_exact_mut(COMMITMENT).nth(place),
            salts.chunks_exact_mut(SALT).nth(place),
        ) {
            to.copy_from_slice(of.as_ref());
            beside.copy_from_slice(&salt);
        }
    }
    Proof::Commitments { commitments, salts }
}

/// Tells whether a record's values are those that were committed to, as far as they were not erased, and whether some were.
pub(crate) fn holds(record: &AuditRecord) -> (bool, bool) {
    let Proof::Commitments { commitments, salts } = &record.proof else {
        return (true, record.proof == Proof::Gone);
    };
    let places = commitments
        .chunks_exact(COMMITMENT)
        .zip(salts.chunks_exact(SALT));
    let (mut right, mut erased) = (true, false);
    for (place, ((commitment_to, salt), value)) in places.zip(values(record)).enumerate() {
        let salted = salt.iter().any(|byte| *byte != 0);
        let committed = commitment_to.iter().any(|byte| *byte != 0);
        right &= match value {
            Some(value) if salted => commitment(place, salt, value).as_ref() == commitment_to,
            Some(value) => committed && place == 0 && value == ERASED,
            None => !salted,
        };
        erased |= committed && !salted;
    }
    (right, erased)
}

/// Erases values of a record and their salts. Tells whether there was something to erase.
pub(crate) fn erase(record: &mut AuditRecord, part: Part) -> bool {
    match &mut record.proof {
        Proof::Gone => {}
        Proof::Values => record.proof = Proof::Gone,
        Proof::Commitments { salts, .. } => {
            let places = part.places();
            let salts = salts.chunks_exact_mut(SALT);
            let salts = salts.skip(places.start).take(places.len());
            let mut changed = false;
            for salt in salts {
                changed |= salt.iter().any(|byte| *byte != 0);
                salt.fill(0);
            }
            if !changed {
                return false;
            }
        }
    }
    match part {
        Part::Actor => {
            let was =
                (record.actor_name != ERASED) || record.ip.is_some() || record.user_agent.is_some();
            ERASED.clone_into(&mut record.actor_name);
            record.ip = None;
            record.user_agent = None;
            was
        }
        Part::States => {
            let was = record.old.is_some() || record.new.is_some();
            record.old = None;
            record.new = None;
            was
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use primitives::Timestamp;

    fn record() -> AuditRecord {
        let mut record = AuditRecord {
            seq: 1,
            at: Timestamp::from_micros(7),
            action: "user.edit".to_owned(),
            actor_kind: "user".to_owned(),
            actor_id: Some("a".to_owned()),
            actor_name: "ann".to_owned(),
            org_id: None,
            subject_kind: "user".to_owned(),
            subject_id: Some("b".to_owned()),
            ip: Some("192.0.2.1".to_owned()),
            user_agent: None,
            old: Some("{}".to_owned()),
            new: Some(r#"{"email":"ann@example.org"}"#.to_owned()),
            proof: Proof::Values,
        };
        record.proof = commit(&record);
        record
    }

    #[test]
    fn a_changed_value_is_noticed_and_an_erased_one_told() {
        assert_eq!(holds(&record()), (true, false));
        for change in [
            |record: &mut AuditRecord| record.actor_name = "eve".to_owned(),
            |record: &mut AuditRecord| record.ip = None,
            |record: &mut AuditRecord| record.user_agent = Some("curl".to_owned()),
            |record: &mut AuditRecord| record.new = record.old.take(),
        ] {
            let mut changed = record();
            change(&mut changed);
            assert!(!holds(&changed).0, "{changed:?}");
        }
        let mut erased = record();
        assert!(erase(&mut erased, Part::States));
        assert_eq!(holds(&erased), (true, true));
        assert!(!erase(&mut erased, Part::States), "nothing is left");
        assert!(erase(&mut erased, Part::Actor));
        assert_eq!(holds(&erased), (true, true));
        assert_eq!(erased.actor_name, ERASED);
        erased.actor_name = "eve".to_owned();
        assert!(!holds(&erased).0, "an erased name is not written anew");
    }

    #[test]
    fn equal_values_have_different_commitments() {
        assert_ne!(record().proof, record().proof);
    }
}
