//! `[cache]`: answers of the control plane that are kept for a moment.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::cache::{Place, Rules, Strategy};
use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::{ByteSize, Period};

/// Kept answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSection {
    /// Whether answers are kept; true unless set.
    pub enabled: bool,
    /// How long an answer is good; 5 s unless set.
    pub ttl: Period,
    /// The memory that the answers of one resource may take; 8 MiB unless set.
    pub max_size: ByteSize,
    /// What has answers go; both unless set.
    pub strategy: CacheStrategy,
    /// Where answers are kept; in memory unless set.
    pub store: CacheStore,
    /// The same for single resources.
    pub resources: BTreeMap<CachedResource, CacheRuleSection>,
}

/// What is set for one resource, in place of what holds for all.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheRuleSection {
    /// How long an answer is good.
    pub ttl: Option<Period>,
    /// The memory that its answers may take.
    pub max_size: Option<ByteSize>,
    /// What has answers go.
    pub strategy: Option<CacheStrategy>,
    /// Where answers are kept.
    pub store: Option<CacheStore>,
}

/// What has answers go.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheStrategy {
    /// Time alone.
    Time,
    /// Room alone.
    Size,
    /// Both.
    Both,
}

/// Where answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheStore {
    /// In this process.
    Memory,
    /// In Redis, too.
    Redis,
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CachedResource {
    /// API keys, without their secrets.
    Keys,
    /// People.
    Users,
    /// One's own record.
    Profile,
    /// Organisations.
    Organisations,
    /// Roles.
    Roles,
    /// Invitations.
    Invitations,
}

impl CachedResource {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Keys,
        Self::Users,
        Self::Profile,
        Self::Organisations,
        Self::Roles,
        Self::Invitations,
    ];

    /// Names it as in the configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Users => "users",
            Self::Profile => "profile",
            Self::Organisations => "organisations",
            Self::Roles => "roles",
            Self::Invitations => "invitations",
        }
    }
}

impl Default for CacheSection {
    fn default() -> Self {
        Self {
            enabled: true,
            ttl: Period::seconds(5),
            max_size: ByteSize::mebibytes(8),
            strategy: CacheStrategy::Both,
            store: CacheStore::Memory,
            resources: BTreeMap::new(),
        }
    }
}

impl CacheSection {
    /// Returns what holds for a resource.
    pub(crate) fn rules(&self, resource: CachedResource) -> Rules {
        let own = self.resources.get(&resource).copied().unwrap_or_default();
        Rules {
            ttl: own.ttl.unwrap_or(self.ttl).0,
            max_bytes: own.max_size.unwrap_or(self.max_size).0,
            strategy: match own.strategy.unwrap_or(self.strategy) {
                CacheStrategy::Time => Strategy::Time,
                CacheStrategy::Size => Strategy::Size,
                CacheStrategy::Both => Strategy::Both,
            },
            place: match own.store.unwrap_or(self.store) {
                CacheStore::Memory => Place::Memory,
                CacheStore::Redis => Place::Redis,
            },
        }
    }

    /// Whether something is to be kept in Redis.
    fn wants_redis(&self) -> bool {
        let of_all = self
            .resources
            .values()
            .map(|own| own.store.unwrap_or(self.store));
        self.store == CacheStore::Redis || of_all.into_iter().any(|one| one == CacheStore::Redis)
    }

    pub(super) fn check(&self, has_redis: bool, at: &Origins) -> Result<(), ConfigError> {
        let ttls = (self.ttl, "ttl".to_owned());
        let own = self.resources.iter().filter_map(|(resource, own)| {
            Some((own.ttl?, format!("resources.{}.ttl", resource.as_str())))
        });
        for (ttl, key) in std::iter::once(ttls).chain(own) {
            if !(Duration::from_millis(1)..=Duration::from_hours(24)).contains(&ttl.0) {
                return Err(at.bad(["cache".to_owned(), key], "must be 1ms to 24h"));
            }
        }
        let sizes = (self.max_size, "max_size".to_owned());
        let own = self.resources.iter().filter_map(|(resource, own)| {
            let key = format!("resources.{}.max_size", resource.as_str());
            Some((own.max_size?, key))
        });
        for (size, key) in std::iter::once(sizes).chain(own) {
            if !(64 << 10..=4 << 30).contains(&size.0) {
                return Err(at.bad(["cache".to_owned(), key], "must be 64KiB to 4GiB"));
            }
        }
        if self.wants_redis() && !has_redis {
            return Err(at.bad(
                ["cache", "store"],
                "is redis, which needs [redis] url: set it, or keep answers in memory",
            ));
        }
        Ok(())
    }
}
