//! The domain's entrance: opens the stored state, publishes the snapshot, and renews it after each change.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use ::store::{Db, StoreError};
use arc_swap::ArcSwap;
use primitives::{Classify, Clock, ErrorKind, Secret, UserId};
use tokio::sync::Mutex;

use crate::lockout::{Lockout, Patience};
use crate::model::{Principal, Role};
use crate::password::{PasswordError, Passwords};
use crate::setup::{self, SetupState};
use crate::sign_in::{Account, AccountFrom};
use crate::snapshot::{Entries, Snapshot, UsageOwner};
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
}

/// Why the stored identities could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The administrator's password cannot be used.
    #[error("the administrator's password cannot be used")]
    AdminPassword(#[source] PasswordError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for OpenError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::AdminPassword(error) => error.kind(),
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
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Users, sessions and keys. Clones share everything.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) passwords: Passwords,
    pub(crate) by_account: Lockout<Account>,
    pub(crate) by_origin: Lockout<AccountFrom>,
    snapshot: ArcSwap<Snapshot>,
    /// Held while a snapshot is loaded and published, so that an older one never replaces a newer.
    renewing: Mutex<()>,
    anonymous: Option<Principal>,
}

impl Identity {
    /// Opens the stored identities and loads the snapshot. The database must be migrated and in reach.
    ///
    /// On the very first start, without an administrator's password, a set-up token is made: see [`SetupState`].
    pub async fn open(
        db: Db,
        clock: Arc<dyn Clock>,
        config: AuthConfig,
    ) -> Result<(Self, SetupState), OpenError> {
        let anonymous = (config.loopback_only && !config.required).then(Principal::anonymous);
        let verified_at = Arc::new(AtomicI64::new(clock.now().as_micros()));
        let empty = Snapshot::new(Entries::default(), anonymous.clone(), -1, verified_at);
        let identity = Self {
            inner: Arc::new(Inner {
                db,
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
                snapshot: ArcSwap::from_pointee(empty),
                renewing: Mutex::new(()),
                anonymous,
            }),
        };
        let setup = setup::prepare(&identity.inner, config.admin_password).await?;
        identity.renew().await?;
        Ok((identity, setup))
    }

    /// Returns the credentials as they are known now. Cheap; hold the result for one request only.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.snapshot.load_full()
    }

    /// Loads the credentials from the database and publishes them.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        let _turn = self.inner.renewing.lock().await;
        let now = self.inner.clock.now();
        let current = self.inner.snapshot.load_full();
        let mut tx = self.inner.db.read().await?;
        let generation = store::load_generation(&mut tx).await?;
        let entries = store::load_entries(&mut tx, now, &current).await?;
        tx.commit().await?;
        let next = current.succeed(entries, self.inner.anonymous.clone(), generation);
        next.confirm(now);
        self.inner.snapshot.store(Arc::new(next));
        Ok(())
    }

    /// Publishes a change that is committed. When that fails the change still stands, and the reconcile loop publishes it.
    pub(crate) async fn published(&self) {
        if let Err(error) = self.renew().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a committed change of keys or sessions is not in effect yet: it will be when the database answers"
            );
        }
    }

    /// Publishes the end of a credential. When this returns it is let in no more, whether the database answers or not.
    pub(crate) async fn withdrawn(&self, owner: UsageOwner) {
        {
            let _turn = self.inner.renewing.lock().await;
            let without = self.inner.snapshot.load().without(owner);
            self.inner.snapshot.store(Arc::new(without));
        }
        self.published().await;
    }

    /// Publishes the change of a person. When this returns their sessions and keys do no more than `most`, nothing at all when that is
    /// absent, whether the database answers or not.
    pub(crate) async fn restricted(&self, user: UserId, most: Option<Role>) {
        {
            let _turn = self.inner.renewing.lock().await;
            let restricted = self.inner.snapshot.load().restricted(user, most);
            self.inner.snapshot.store(Arc::new(restricted));
        }
        self.published().await;
    }
}
