//! A fleet of one node over a database, with a clock that stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster::{ClusterConfig, ClusterDeps, NodeSpec, Registry};
use fleet::{Fleet, FleetConfig, FleetDeps, Turns};
use identity::{AuthConfig, Identity};
use primitives::{Clock, ManualClock, Secret, Timestamp};
use store::testing::TestStore;
use store::{Db, Sealer};
use web::outbound::{Client, ClientConfig, Reach};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

pub(crate) struct Stage {
    pub(crate) db: Db,
    pub(crate) clock: ManualClock,
    pub(crate) registry: Registry,
    pub(crate) fleet: Fleet,
    pub(crate) on_duty: Arc<AtomicBool>,
    turns: Turns,
}

impl Stage {
    /// Begins on a Thursday at 19:30:00 UTC.
    pub(crate) async fn set(store: &TestStore) -> Self {
        let db = store.migrated().await;
        let start = Timestamp::parse_rfc3339("2026-11-26T19:30:00Z").unwrap();
        let clock = ManualClock::new(start);
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let sealer = Arc::new(Sealer::from_base64(&Secret::new(KEY.to_owned())).unwrap());
        let auth = AuthConfig::REQUIRED;
        let opened = Identity::open(db.clone(), sealer.clone(), shared.clone(), auth).await;
        let (identity, _) = opened.unwrap();
        let deps = ClusterDeps {
            db: db.clone(),
            sealer,
            clock: shared.clone(),
            client: Client::new(ClientConfig::new(Reach::Nodes)).unwrap(),
        };
        let opened = Registry::open(deps, ClusterConfig::default()).await;
        let registry = opened.unwrap();
        let node = NodeSpec::new("gpu1", "http://127.0.0.1:9");
        registry.sync_config(vec![node]).await.unwrap();
        let on_duty = Arc::new(AtomicBool::new(true));
        let duty = Arc::clone(&on_duty);
        let day = Duration::from_hours(24);
        let fleet = Fleet::new(FleetDeps {
            db: db.clone(),
            clock: shared,
            identity,
            registry: registry.clone(),
            duty: Arc::new(move || {
                let mine = duty.load(Ordering::Relaxed);
                Box::pin(async move { Ok(mine) })
            }),
            config: FleetConfig {
                minutes: day,
                hours: 3 * day,
                days: 30 * day,
            },
        });
        let turns = fleet.turns();
        Self {
            db,
            clock,
            registry,
            fleet,
            on_duty,
            turns,
        }
    }

    /// Lets time pass, and has the process do its turn.
    pub(crate) async fn after(&mut self, time: Duration) {
        self.clock.advance(time);
        self.fleet.turn(&mut self.turns).await.unwrap();
    }
}

/// Makes each test once for each engine.
macro_rules! on_both_engines {
    ($($name:ident)*) => {$(
        mod $name {
            use store::testing::TestStore;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name(crate::stage::Stage::set(&TestStore::sqlite().await).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name(crate::stage::Stage::set(&TestStore::postgres().await).await).await;
            }
        }
    )*};
}
pub(crate) use on_both_engines;
