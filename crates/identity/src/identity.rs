//! The domain's entrance: opens the stored state, publishes the snapshot, and renews it after each change.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ::store::{Db, Sealer, StoreError, Tx};
use arc_swap::ArcSwap;
use primitives::{Classify, Clock, ErrorKind, MonotonicTime, Secret};
use tokio::sync::{Mutex, Semaphore};

use crate::audit::{Action, Actor, Change, record};
use crate::lists::Lists;
use crate::lockout::{Lockout, Patience};
use crate::metrics::Metrics;
use crate::model::Principal;
use crate::oidc::{Oidc, OidcConfig};
use crate::password::{PasswordError, Passwords};
use crate::privacy::{MOST_EXPORTS, PersonalData};
use crate::registration::Registration;
use crate::renewal::Renewing;
use crate::setup::{self, SetupState};
use crate::sign_in::{Account, AccountFrom};
use crate::signing::{SigningError, SigningKeys, StoredKey};
use crate::snapshot::Snapshot;
use crate::store;

/// Who is let in without a credential, and who administers.
#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// Whether a credential is required even from this machine.
    pub required: bool,
    /// Whether every listener is on loopback. Beyond loopback a credential is always required.
    pub loopback_only: bool,
    /// The password of the user `admin`, who is made or updated at each start.
    pub admin_password: Option<Secret<String>>,
    /// Who issues access tokens, as they say and as is checked.
    pub issuer: Cow<'static, str>,
    /// Who may make their own account.
    pub registration: Registration,
    /// How long records of changes are kept.
    pub audit_retention: Duration,
    /// How long keys and sessions are believed while the database cannot confirm them.
    pub max_staleness: Duration,
    /// Providers that people may sign in by.
    pub oidc: Option<OidcConfig>,
}

impl AuthConfig {
    /// A credential from everybody, and no administrator by password.
    pub const REQUIRED: Self = Self {
        required: true,
        loopback_only: false,
        admin_password: None,
        issuer: Cow::Borrowed("remuda"),
        registration: Registration::Invite,
        audit_retention: Duration::from_hours(365 * 24),
        max_staleness: Duration::from_hours(24),
        oidc: None,
    };
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self::REQUIRED
    }
}

/// What can be changed while the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policies {
    /// Who may make their own account.
    pub registration: Registration,
    /// How long records of changes are kept.
    pub audit_retention: Duration,
}

/// Why the stored identities could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The administrator's password cannot be used.
    #[error("the administrator's password cannot be used")]
    AdminPassword(#[source] PasswordError),
    /// No key could be made to sign access tokens with.
    #[error("there is no key to sign access tokens with: {0}")]
    Signing(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SigningError> for OpenError {
    fn from(error: SigningError) -> Self {
        Self::Signing(error.to_string())
    }
}

impl Classify for OpenError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::AdminPassword(error) => error.kind(),
            Self::Signing(_) => ErrorKind::Bug,
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::AdminPassword(error) => {
                format!(
                    "REMUDA_ADMIN_PASSWORD cannot be used: {}",
                    error.public_message()
                )
            }
            Self::Signing(_) => format!("{self}: check [store] encryption_key, or the key file"),
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Users, sessions and keys. Clones share everything.
#[derive(Clone)]
pub struct Identity {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) issuer: Arc<str>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) passwords: Passwords,
    pub(crate) by_account: Lockout<Account>,
    pub(crate) by_origin: Lockout<AccountFrom>,
    pub(crate) registrations: Lockout<Option<IpAddr>>,
    pub(crate) policies: ArcSwap<Policies>,
    pub(crate) oidc: Option<Oidc>,
    pub(crate) metrics: Metrics,
    /// When old records of changes were looked for.
    pub(crate) audit_trimmed: Mutex<Option<MonotonicTime>>,
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// Held while a snapshot is loaded and published, so that an older one never replaces a newer.
    pub(crate) renewing: Mutex<Renewing>,
    /// How many renewals were wished for.
    pub(crate) renewals: AtomicU64,
    /// What other domains know of people.
    pub(crate) personal_data: ArcSwap<Vec<Arc<dyn PersonalData>>>,
    pub(crate) exports: Arc<Semaphore>,
    /// Lists that were made a moment ago.
    pub(crate) lists: Lists,
}

impl Identity {
    /// Opens the stored identities and loads the snapshot. The database must be migrated and in reach.
    ///
    /// On the very first start, without an administrator's password, a set-up token is made: see [`SetupState`].
    pub async fn open(
        db: Db,
        sealer: Arc<Sealer>,
        clock: Arc<dyn Clock>,
        config: AuthConfig,
    ) -> Result<(Self, SetupState), OpenError> {
        let anonymous = (config.loopback_only && !config.required).then(Principal::anonymous);
        let issuer: Arc<str> = config.issuer.into();
        let empty = Snapshot::empty(
            anonymous,
            Arc::clone(&issuer),
            config.max_staleness,
            clock.now(),
        );
        let metrics = Metrics::new();
        let oidc = config.oidc;
        let oidc = oidc.map(|oidc| Oidc::new(oidc, metrics.by_provider.clone()));
        let identity = Self {
            inner: Arc::new(Inner {
                db,
                sealer,
                issuer,
                clock,
                passwords: Passwords::new(),
                by_account: Lockout::new(Patience {
                    free_attempts: 100,
                    longest_wait: Duration::from_secs(30),
                }),
                by_origin: Lockout::new(Patience {
                    free_attempts: 5,
                    longest_wait: Duration::from_mins(5),
                }),
                registrations: Lockout::new(Patience {
                    free_attempts: 10,
                    longest_wait: Duration::from_mins(5),
                }),
                policies: ArcSwap::from_pointee(Policies {
                    registration: config.registration,
                    audit_retention: config.audit_retention,
                }),
                oidc,
                metrics,
                audit_trimmed: Mutex::new(None),
                snapshot: ArcSwap::from_pointee(empty),
                renewing: Mutex::default(),
                renewals: AtomicU64::new(0),
                personal_data: ArcSwap::default(),
                exports: Arc::new(Semaphore::new(MOST_EXPORTS)),
                lists: Lists::default(),
            }),
        };
        let setup = setup::prepare(&identity.inner, config.admin_password).await?;
        identity.keep_signing_keys().await?;
        identity.renew().await?;
        Ok((identity, setup))
    }

    /// Returns the credentials as they are known now. Cheap; hold the result for one request only.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot.load_full()
    }

    /// Returns the metrics in the text format, with its end mark.
    pub fn render_metrics(&self) -> String {
        let snapshot = self.snapshot();
        let age = snapshot.age(self.inner.clock.now());
        let metrics = &self.inner.metrics;
        metrics.render(snapshot.len(), age.as_secs_f64())
    }

    /// Has other policies apply, from now on.
    pub fn set_policies(&self, policies: Policies) {
        self.inner.policies.store(Arc::new(policies));
    }

    /// Makes sure that there is a key to sign access tokens with, now and in time before the present one is replaced.
    pub(crate) async fn keep_signing_keys(&self) -> Result<(), OpenError> {
        let now = self.inner.clock.now();
        let plan = async |tx: &mut Tx| {
            let stored = store::load_signing_keys(tx).await?;
            Ok::<_, StoreError>(SigningKeys::open(stored, &self.inner.sealer).plan(now))
        };
        let mut tx = self.inner.db.read().await?;
        let nothing = plan(&mut tx).await?.is_empty();
        tx.commit().await?;
        if nothing {
            return Ok(());
        }
        let mut tx = self.inner.db.write_ordered().await?;
        store::advance_generation(&mut tx).await?;
        // Another replica may have done it meanwhile.
        let todo = plan(&mut tx).await?;
        if let Some(signs_from) = todo.make {
            let key = StoredKey::generate(&self.inner.sealer, now, signs_from)?;
            store::insert_signing_key(&mut tx, &key).await?;
            let change = Change {
                action: Action::SigningKeyMake,
                org: None,
                subject: ("signing_key", Some(key.id)),
                old: None,
                new: Some(serde_json::json!({"signs_from": signs_from})),
            };
            record(&mut tx, now, &Actor::system(), change).await?;
        }
        for id in &todo.drop {
            store::delete_signing_key(&mut tx, id).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
