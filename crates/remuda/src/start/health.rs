//! `GET /health`: whether each part is well. Tells counts and states only, since nobody has to sign in for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::bus::Bus;
use axum::extract::State;
use cluster::{NodeState, Registry};
use identity::Identity;
use primitives::{Clock, Timestamp};
use serde::Serialize;
use store::Db;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::JsonBody;
use web::tls::ServerTls;

use super::database_health::{DatabaseHealth, DatabaseProbe};
use super::tls;

/// The snapshot of keys is compared twice a second; beyond this age something holds it up.
const OLD_SNAPSHOT: Duration = Duration::from_secs(10);

/// What the probe looks at.
#[derive(Clone)]
pub(super) struct HealthProbe {
    database: DatabaseProbe,
    identity: Identity,
    registry: Registry,
    bus: Bus,
    server_tls: Option<Arc<ServerTls>>,
    clock: Arc<dyn Clock>,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Wellness {
    /// As it should be.
    Ok,
    /// Works with less than it should have.
    Degraded,
    /// Does not work.
    Down,
}

/// One part.
#[derive(Debug, Serialize, ToSchema)]
struct Component {
    /// How well it is.
    status: Wellness,
    /// The same in words.
    detail: String,
}

/// The whole program.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthBody {
    /// `ok`, or `degraded` while some part is not: inference may go on.
    status: Wellness,
    /// This program's version.
    version: &'static str,
    /// Each part.
    components: BTreeMap<&'static str, Component>,
}

/// That the process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AliveBody {
    /// Always `ok`.
    status: Wellness,
}

impl HealthProbe {
    pub(super) fn new(
        db: Db,
        identity: Identity,
        registry: Registry,
        bus: Bus,
        server_tls: Option<Arc<ServerTls>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            database: DatabaseProbe::new(db, Arc::clone(&clock)),
            identity,
            registry,
            bus,
            server_tls,
            clock,
        }
    }

    async fn database(&self) -> Component {
        let health = self.database.look().await;
        Component {
            status: match health {
                DatabaseHealth::Well => Wellness::Ok,
                DatabaseHealth::Slow => Wellness::Degraded,
                DatabaseHealth::Silent | DatabaseHealth::Unwritable(_) => Wellness::Down,
            },
            detail: health.describe(self.database.engine()),
        }
    }

    fn identity(&self) -> Component {
        let snapshot = self.identity.snapshot();
        let age = snapshot.age(self.clock.now());
        Component {
            status: if age < OLD_SNAPSHOT {
                Wellness::Ok
            } else if age <= snapshot.stale_after() {
                Wellness::Degraded
            } else {
                Wellness::Down
            },
            detail: format!(
                "keys and sessions: {}, confirmed {} s ago, believed for {} s without the database",
                snapshot.len(),
                age.as_secs(),
                snapshot.stale_after().as_secs()
            ),
        }
    }

    fn fleet(&self) -> Component {
        let snapshot = self.registry.snapshot();
        let total = snapshot.nodes.len();
        let routable = snapshot
            .nodes
            .iter()
            .filter(|node| node.is_routable())
            .count();
        let ready = snapshot
            .nodes
            .iter()
            .filter(|node| matches!(node.state, NodeState::Ready | NodeState::Busy))
            .count();
        Component {
            status: match (ready, routable) {
                (_, 0) => Wellness::Down,
                (ready, _) if ready == total => Wellness::Ok,
                _ => Wellness::Degraded,
            },
            detail: format!(
                "{ready} of {total} nodes ready, models: {}",
                snapshot.by_model.len()
            ),
        }
    }
}

/// Redis never brings anything down: without it each process counts and remembers for itself.
fn redis(health: &::bus::Health) -> Component {
    match health {
        ::bus::Health::Well { took } => Component {
            status: Wellness::Ok,
            detail: format!("Redis answers in {:.1} ms", took.as_secs_f64() * 1e3),
        },
        ::bus::Health::Away { reason, since } => Component {
            status: Wellness::Degraded,
            detail: format!(
                "Redis has not been in reach for {} s ({reason}); limits are counted by each process for itself, and nothing is answered from the cache",
                since.as_secs()
            ),
        },
    }
}

fn certificate(tls: &ServerTls, now: Timestamp) -> Component {
    let remaining = tls.certificate().remaining(now);
    let (status, more) = if remaining.is_zero() {
        (Wellness::Down, "; clients refuse it")
    } else if tls.reloads().is_stuck {
        (
            Wellness::Degraded,
            "; its files have changed and cannot be used",
        )
    } else if remaining < tls::SOON {
        (Wellness::Degraded, "; it should have been renewed")
    } else {
        (Wellness::Ok, "")
    };
    Component {
        status,
        detail: format!("ends in {} days{more}", tls::days(remaining)),
    }
}

/// Returns the routes.
pub(super) fn routes(probe: HealthProbe) -> OpenApiRouter<()> {
    OpenApiRouter::new()
        .routes(routes!(show_health))
        .routes(routes!(show_live))
        .routes(routes!(show_ready))
        .with_state(probe)
}

/// Shows how well every part is.
///
/// Answers 200 as long as requests are served, even while a part is down.
#[utoipa::path(get, path = "/health", operation_id = "show_health", tag = "operations",
    responses((status = 200, body = HealthBody)))]
async fn show_health(State(probe): State<HealthProbe>) -> JsonBody<HealthBody> {
    JsonBody(look(&probe).await)
}

/// Answers as long as the process lives.
#[utoipa::path(get, path = "/health/live", operation_id = "show_live", tag = "operations",
    responses((status = 200, body = AliveBody)))]
async fn show_live() -> JsonBody<AliveBody> {
    JsonBody(AliveBody {
        status: Wellness::Ok,
    })
}

/// Tells whether requests should be sent here: not before the start is over, not while it drains.
///
/// The listener takes no connection at other times, so that an answer is a yes.
#[utoipa::path(get, path = "/health/ready", operation_id = "show_ready", tag = "operations",
    responses((status = 200, body = HealthBody)))]
async fn show_ready(State(probe): State<HealthProbe>) -> JsonBody<HealthBody> {
    JsonBody(look(&probe).await)
}

async fn look(probe: &HealthProbe) -> HealthBody {
    let mut components = BTreeMap::from([
        ("database", probe.database().await),
        ("identity", probe.identity()),
        ("fleet", probe.fleet()),
    ]);
    if let Some(tls) = &probe.server_tls {
        components.insert("certificate", certificate(tls, probe.clock.now()));
    }
    if let Some(health) = probe.bus.health() {
        components.insert("redis", redis(&health));
    }
    let worst = components
        .values()
        .map(|component| component.status)
        .max()
        .unwrap_or(Wellness::Ok);
    HealthBody {
        status: worst.min(Wellness::Degraded),
        version: env!("CARGO_PKG_VERSION"),
        components,
    }
}
