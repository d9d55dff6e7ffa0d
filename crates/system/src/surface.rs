//! The domain's entrance: what it works with, and what it keeps doing.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::store::{Db, Sealer, StoreError};
use cluster::Registry;
use identity::Identity;
use identity::journal::Actor;
use primitives::{Clock, MonotonicTime};
use tokio::sync::{Mutex, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::catalogue::{Definition, SettingValue};
use crate::database::Statistics;
use crate::secrets::Reseals;
use crate::settings::Settings;
use crate::store;

/// How often settings are compared with the database: a change of another process is in effect here within twice that.
const PERIOD: Duration = Duration::from_millis(500);

/// What the domain works with.
pub struct SystemDeps {
    /// Where settings are kept, and what is cared for.
    pub db: Db,
    /// Whose keys are replaced.
    pub sealer: Arc<Sealer>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Who may.
    pub identity: Identity,
    /// Whose credentials are sealed anew.
    pub registry: Registry,
    /// What holds for a setting that nobody has set, by name.
    pub defaults: BTreeMap<&'static str, SettingValue>,
}

/// Settings, the database and its care. Clones share everything.
#[derive(Clone)]
pub struct System {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identity: Identity,
    pub(crate) registry: Registry,
    pub(crate) defaults: BTreeMap<&'static str, SettingValue>,
    pub(crate) settings: watch::Sender<Settings>,
    pub(crate) statistics: Mutex<Option<(MonotonicTime, Statistics)>>,
    /// One replacement of keys at a time.
    pub(crate) rotating: Mutex<()>,
    /// What other domains have sealed.
    pub(crate) sealed: OnceLock<Arc<dyn Reseals>>,
}

impl System {
    /// Loads the settings. The database must be migrated and in reach.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open(deps: SystemDeps) -> Result<Self, StoreError> {
        let mut tx = deps.db.read().await?;
        let stored = store::load_settings(&mut tx).await?;
        tx.commit().await?;
        let settings = Settings::of(&deps.defaults, stored);
        Ok(Self {
            inner: Arc::new(Inner {
                db: deps.db,
                sealer: deps.sealer,
                clock: deps.clock,
                identity: deps.identity,
                registry: deps.registry,
                defaults: deps.defaults,
                settings: watch::Sender::new(settings),
                statistics: Mutex::new(None),
                rotating: Mutex::new(()),
                sealed: OnceLock::new(),
            }),
        })
    }

    /// Has what another domain seals sealed anew with the rest, from now on. The first one stays.
    pub fn set_sealed(&self, sealed: Arc<dyn Reseals>) {
        drop(self.inner.sealed.set(sealed));
    }

    /// Returns the settings as they are, and as they become.
    pub fn settings(&self) -> watch::Receiver<Settings> {
        self.inner.settings.subscribe()
    }

    /// Picks up what other processes set, and cleans up as the settings say, until `stop`.
    pub async fn reconcile(self, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        let mut cleaned = self.inner.clock.monotonic();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let outcome = match self.compare().await {
                Ok(()) => self.clean_when_due(&mut cleaned).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "settings cannot be compared with the database: they stay as they are"
                    );
                }
                Err(_) => {}
            }
        }
    }

    async fn compare(&self) -> Result<(), StoreError> {
        let mut tx = self.inner.db.read().await?;
        let version = store::settings_version(&mut tx).await?;
        if version == self.inner.settings.borrow().version {
            return tx.commit().await;
        }
        let stored = store::load_settings(&mut tx).await?;
        tx.commit().await?;
        self.publish(Settings::of(&self.inner.defaults, stored));
        Ok(())
    }

    /// Shows the settings to who applies them, unless newer ones are shown already.
    pub(crate) fn publish(&self, settings: Settings) {
        self.inner.settings.send_if_modified(|present| {
            let newer = settings.version > present.version;
            if newer {
                *present = settings;
            }
            newer
        });
    }

    async fn clean_when_due(&self, cleaned: &mut MonotonicTime) -> Result<(), StoreError> {
        let hours = self
            .inner
            .settings
            .borrow()
            .integer("database.clean_every_hours");
        let Some(every) = u64::try_from(hours).ok().filter(|hours| *hours > 0) else {
            return Ok(());
        };
        let now = self.inner.clock.monotonic();
        if now.since(*cleaned) < Duration::from_hours(every) {
            return Ok(());
        }
        *cleaned = now;
        self.clean(&Actor::system()).await.map(drop)
    }

    /// Returns the settings' definitions, by name.
    pub const fn definitions() -> &'static [Definition] {
        &crate::catalogue::CATALOGUE
    }
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("System").finish_non_exhaustive()
    }
}
