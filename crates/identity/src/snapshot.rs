//! The credentials as the inference path sees them: in memory, immutable, without the database.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use primitives::{KeyId, SessionId, Timestamp, UserId};

use crate::access_token;
use crate::credential::{SecretHash, is_ours};
use crate::model::{AuthError, Principal};
use crate::permission::Rights;
use crate::signing::SigningKeys;

/// All valid credentials at one moment.
#[derive(Debug)]
pub struct Snapshot {
    entries: Entries,
    signing: Arc<SigningKeys>,
    issuer: Arc<str>,
    /// Beyond this age credentials are not believed any more.
    stale_after: Duration,
    anonymous: Option<Principal>,
    generation: i64,
    /// Shared by successive snapshots: when the database last confirmed what stands here, in microseconds.
    verified_at: Arc<AtomicI64>,
}

/// The credentials themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    /// Keys, and the sessions of earlier builds, by their secret.
    pub(crate) by_secret: HashMap<SecretHash, Arc<Entry>, BuildHasherDefault<Spread>>,
    /// Sessions that access tokens are made for.
    pub(crate) by_session: HashMap<SessionId, Arc<Entry>>,
}

impl Entries {
    fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_secret.values().chain(self.by_session.values())
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut Arc<Entry>) -> bool) {
        self.by_secret.retain(|_, entry| keep(entry));
        self.by_session.retain(|_, entry| keep(entry));
    }
}

/// One credential.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) principal: Principal,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) usage: Arc<Usage>,
}

/// When a credential was last used. Survives the renewal of the snapshot.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) owner: UsageOwner,
    /// In microseconds; zero when never.
    used_at: AtomicI64,
    /// What the database knows of it.
    stored_at: AtomicI64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsageOwner {
    Key(KeyId),
    Session(SessionId),
}

impl fmt::Display for UsageOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::Session(id) => id.fmt(f),
        }
    }
}

impl Usage {
    pub(crate) fn new(owner: UsageOwner, stored_at: Option<Timestamp>) -> Self {
        let stored_at = stored_at.map_or(0, Timestamp::as_micros);
        Self {
            owner,
            used_at: AtomicI64::new(stored_at),
            stored_at: AtomicI64::new(stored_at),
        }
    }

    /// Notes a use. One relaxed store: the exact order of concurrent uses does not matter.
    fn note(&self, now: Timestamp) {
        self.used_at.store(now.as_micros(), Ordering::Relaxed);
    }

    /// Returns the time of the last use when the database does not know it yet.
    pub(crate) fn unstored(&self) -> Option<Timestamp> {
        let used_at = self.used_at.load(Ordering::Relaxed);
        (used_at > self.stored_at.load(Ordering::Relaxed)).then(|| Timestamp::from_micros(used_at))
    }

    pub(crate) fn mark_stored(&self, at: Timestamp) {
        self.stored_at.fetch_max(at.as_micros(), Ordering::Relaxed);
    }
}

impl Snapshot {
    /// Makes one that lets nobody in but `anonymous`, whose generation the database never has.
    pub(crate) fn empty(
        anonymous: Option<Principal>,
        issuer: Arc<str>,
        stale_after: Duration,
        now: Timestamp,
    ) -> Self {
        Self {
            stale_after,
            entries: Entries::default(),
            signing: Arc::new(SigningKeys::none()),
            issuer,
            anonymous,
            generation: -1,
            verified_at: Arc::new(AtomicI64::new(now.as_micros())),
        }
    }

    /// Makes the snapshot that follows this one.
    pub(crate) fn succeed(
        &self,
        entries: Entries,
        signing: Arc<SigningKeys>,
        generation: i64,
    ) -> Self {
        Self {
            entries,
            signing,
            issuer: Arc::clone(&self.issuer),
            stale_after: self.stale_after,
            anonymous: self.anonymous.clone(),
            generation,
            verified_at: Arc::clone(&self.verified_at),
        }
    }

    /// Decides who presents the credential (see [`presented_credential`](crate::presented_credential)). Waits for nothing but a short
    /// lock, and computes a signature only for an access token that it has not seen yet.
    ///
    /// Where no credential is required, one that is not ours is ignored: many clients insist on sending some text as a key.
    pub fn authenticate(
        &self,
        presented: Option<&str>,
        now: Timestamp,
    ) -> Result<Principal, AuthError> {
        let secret = match (presented, &self.anonymous) {
            (None, Some(anonymous)) => return Ok(anonymous.clone()),
            (None, None) => return Err(AuthError::Missing),
            (Some(text), Some(anonymous)) if !self.is_ours(text) => return Ok(anonymous.clone()),
            (Some(text), _) => text,
        };
        let hash = SecretHash::of(secret);
        let entry = if access_token::looks_like_one(secret) {
            let session = self.verified(hash, secret, now)?;
            self.entries.by_session.get(&session)
        } else {
            self.entries.by_secret.get(&hash)
        }
        .ok_or(AuthError::Unknown)?;
        if entry.expires_at.is_some_and(|end| end <= now) {
            return Err(AuthError::Expired);
        }
        if self.age(now) > self.stale_after {
            return Err(AuthError::Stale);
        }
        entry.usage.note(now);
        Ok(entry.principal.clone())
    }

    fn is_ours(&self, text: &str) -> bool {
        is_ours(text)
            || access_token::looks_like_one(text)
                && access_token::claims_to_be_ours(&self.signing, text)
    }

    /// Returns the session of an access token.
    fn verified(
        &self,
        hash: SecretHash,
        token: &str,
        now: Timestamp,
    ) -> Result<SessionId, AuthError> {
        if let Some(known) = self.signing.known.get(&hash) {
            return if known.expires_at > now {
                Ok(known.session)
            } else {
                Err(AuthError::Expired)
            };
        }
        let verified = access_token::verify(&self.signing, &self.issuer, token, now)?;
        self.signing.known.insert(hash, verified);
        Ok(verified.session)
    }

    pub(crate) fn signing(&self) -> &Arc<SigningKeys> {
        &self.signing
    }

    /// Returns how long ago the database last confirmed this snapshot. Grows while the database is out of reach.
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(Timestamp::from_micros(
            self.verified_at.load(Ordering::Relaxed),
        ))
    }

    /// Returns beyond which age keys and sessions are let in no more.
    pub fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// Returns the number of valid keys and sessions.
    pub fn len(&self) -> usize {
        self.entries.by_secret.len() + self.entries.by_session.len()
    }

    /// Tells whether there are neither keys nor sessions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells whether callers without a credential are let in.
    pub fn allows_anonymous(&self) -> bool {
        self.anonymous.is_some()
    }

    pub(crate) fn generation(&self) -> i64 {
        self.generation
    }

    pub(crate) fn confirm(&self, now: Timestamp) {
        self.verified_at
            .fetch_max(now.as_micros(), Ordering::Relaxed);
    }

    /// Finds the usage of a key or of a session of an earlier build.
    pub(crate) fn usage_of_secret(&self, hash: &SecretHash) -> Option<&Arc<Usage>> {
        self.entries.by_secret.get(hash).map(|entry| &entry.usage)
    }

    pub(crate) fn usage_of_session(&self, id: SessionId) -> Option<&Arc<Usage>> {
        self.entries.by_session.get(&id).map(|entry| &entry.usage)
    }

    /// Makes this snapshot without the credentials that `ends` names, which the database has not any more.
    pub(crate) fn without(&self, ends: impl Fn(&Entry) -> bool) -> Self {
        let mut entries = self.entries.clone();
        entries.retain(|entry| !ends(entry));
        self.succeed(entries, Arc::clone(&self.signing), self.generation)
    }

    /// Makes the snapshot that follows this one by a change of some credentials: `fresh` are those of them that are valid now.
    pub(crate) fn amended(
        &self,
        changed: &HashSet<String>,
        fresh: Entries,
        generation: i64,
    ) -> Self {
        let mut entries = self.entries.clone();
        if !changed.is_empty() {
            entries.retain(|entry| !changed.contains(&entry.usage.owner.to_string()));
        }
        entries.by_secret.extend(fresh.by_secret);
        entries.by_session.extend(fresh.by_session);
        self.succeed(entries, Arc::clone(&self.signing), generation)
    }

    /// Makes this snapshot with no more power than `most` in the sessions and keys of a person, without any of them when that is
    /// absent. Its generation is one that the database never has, so that the next comparison differs.
    pub(crate) fn restricted(&self, user: UserId, most: Option<Rights>) -> Self {
        let mut entries = self.entries.clone();
        entries.retain(|entry| match most {
            _ if entry.principal.user != Some(user) => true,
            Some(most) => {
                let principal = &mut Arc::make_mut(entry).principal;
                principal.role = principal.role.at_most(most.role);
                principal.permissions = principal.permissions.and(most.permissions);
                true
            }
            None => false,
        });
        self.succeed(entries, Arc::clone(&self.signing), -1)
    }

    pub(crate) fn usages(&self) -> impl Iterator<Item = &Arc<Usage>> {
        self.entries.all().map(|entry| &entry.usage)
    }
}

/// Takes the evenly spread bytes of a [`SecretHash`] as they are: hashing a hash again would only cost time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

impl Hash for SecretHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.spread());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PrincipalKind;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn snapshot(anonymous: Option<Principal>) -> Snapshot {
        let id = KeyId::generate(NOW);
        let entry = |expires_at| {
            Arc::new(Entry {
                principal: Principal {
                    kind: PrincipalKind::Key(id),
                    ..Principal::anonymous()
                },
                expires_at,
                usage: Arc::new(Usage::new(UsageOwner::Key(id), None)),
            })
        };
        let mut entries = Entries::default();
        let secrets = &mut entries.by_secret;
        secrets.insert(SecretHash::of("rmd_good"), entry(None));
        secrets.insert(SecretHash::of("rmd_old"), entry(Some(NOW)));
        let empty = Snapshot::empty(anonymous, "here".into(), Duration::from_hours(1), NOW);
        empty.succeed(entries, Arc::clone(empty.signing()), 1)
    }

    #[test]
    fn only_a_known_and_unexpired_credential_is_let_in() {
        let snapshot = snapshot(None);
        assert!(snapshot.authenticate(Some("rmd_good"), NOW).is_ok());
        let refused = |text| snapshot.authenticate(text, NOW).unwrap_err();
        assert_eq!(refused(Some("rmd_old")), AuthError::Expired);
        assert_eq!(refused(Some("rmd_bad")), AuthError::Unknown);
        assert_eq!(refused(Some("ollama")), AuthError::Unknown);
        assert_eq!(refused(None), AuthError::Missing);
    }

    #[test]
    fn without_required_keys_foreign_text_is_ignored_but_our_own_invalid_key_is_not() {
        let snapshot = snapshot(Some(Principal::anonymous()));
        for text in [
            None,
            Some("ollama"),
            Some("sk-123"),
            Some("eyJhbGciOiJub25lIn0.e30."),
        ] {
            let caller = snapshot.authenticate(text, NOW).unwrap();
            assert_eq!(caller.kind, PrincipalKind::Anonymous);
        }
        assert_eq!(
            snapshot.authenticate(Some("rmd_bad"), NOW).unwrap_err(),
            AuthError::Unknown
        );
    }

    #[test]
    fn a_withdrawn_credential_is_refused_and_others_are_not() {
        let snapshot = snapshot(None);
        let owner = snapshot
            .usage_of_secret(&SecretHash::of("rmd_good"))
            .unwrap()
            .owner;
        let other = UsageOwner::Key(KeyId::generate(NOW.after(Duration::from_secs(1))));
        let without = |owner| snapshot.without(|entry| entry.usage.owner == owner);
        assert!(without(other).authenticate(Some("rmd_good"), NOW).is_ok());
        assert_eq!(
            without(owner)
                .authenticate(Some("rmd_good"), NOW)
                .unwrap_err(),
            AuthError::Unknown
        );
    }

    #[test]
    fn what_the_database_has_not_confirmed_for_too_long_is_not_believed() {
        let snapshot = snapshot(Some(Principal::anonymous()));
        let late = NOW.after(Duration::from_hours(1));
        assert!(snapshot.authenticate(Some("rmd_good"), late).is_ok());
        let later = late.after(Duration::from_secs(1));
        let refused = |text| snapshot.authenticate(text, later).unwrap_err();
        assert_eq!(refused(Some("rmd_good")), AuthError::Stale);
        assert_eq!(refused(Some("rmd_bad")), AuthError::Unknown);
        assert!(snapshot.authenticate(None, later).is_ok());
        snapshot.confirm(later);
        assert!(snapshot.authenticate(Some("rmd_good"), later).is_ok());
    }

    #[test]
    fn a_use_is_remembered_until_stored() {
        let snapshot = snapshot(None);
        snapshot.authenticate(Some("rmd_good"), NOW).unwrap();
        let usage = snapshot
            .usage_of_secret(&SecretHash::of("rmd_good"))
            .unwrap();
        assert_eq!(usage.unstored(), Some(NOW));
        usage.mark_stored(NOW);
        assert_eq!(usage.unstored(), None);
    }
}
