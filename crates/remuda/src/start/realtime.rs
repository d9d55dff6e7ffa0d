//! The WebSocket hub, and what it tells of.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use cluster::Registry;
use gateway::{Caller, EndObserver, Figures, Outcome};
use identity::Identity;
use primitives::Clock;
use realtime::{CallerId, Hub, HubConfig, HubDeps, InferenceEvent, Owner};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use web::AllowedOrigins;

use super::tasks::Tasks;
use crate::config::Config;

/// Makes the hub and has it follow the fleet until `stop`.
pub(super) fn open(
    config: &Config,
    identity: &Identity,
    registry: &Registry,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Hub {
    let origins = AllowedOrigins::new(&config.server.allowed_origins);
    let deps = HubDeps {
        identity: identity.clone(),
        clock: Arc::clone(clock),
        origins: Arc::new(move |origin| origins.allows(origin)),
        seed: RandomState::new().build_hasher().finish(),
    };
    let hub = Hub::new(deps, hub_config(config));
    tasks.spawn("realtime", hub.clone().keep(stop.clone()));
    tasks.spawn(
        "realtime",
        hub.clone().follow_fleet(registry.clone(), stop.clone()),
    );
    hub
}

/// Has the hub tell of the system's figures until `stop`.
pub(super) fn tell_figures(sampler: Sampler, tasks: &Tasks, stop: &CancellationToken) {
    let hub = sampler.hub.clone();
    tasks.spawn(
        "realtime",
        hub.follow_system(Arc::new(move || sampler.sample()), stop.clone()),
    );
}

fn hub_config(config: &Config) -> HubConfig {
    let section = &config.realtime;
    let bytes = |size: crate::config::ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
    HubConfig {
        max_connections: section.max_connections,
        max_per_caller: section.max_per_caller,
        auth_timeout: section.auth_timeout.0,
        ping_interval: section.ping_interval.0,
        pong_timeout: section.pong_timeout.0,
        send_timeout: section.send_timeout.0,
        message_limit: bytes(section.message_limit),
        history_messages: section.history_messages,
        history_bytes: bytes(section.history_bytes),
        metrics_interval: section.metrics_interval.0,
        ..HubConfig::default()
    }
}

/// Has the hub tell of requests that have ended.
pub(super) fn observer(hub: Hub) -> EndObserver {
    Arc::new(move |record| {
        let caller = match (record.owner.person, &record.caller) {
            (Some(person), _) => Some(CallerId::User(person)),
            (None, Caller::User(person)) => Some(CallerId::User(*person)),
            (None, Caller::Key(key)) => Some(CallerId::Key(*key)),
            (None, Caller::Anonymous) => None,
        };
        let owner = Owner {
            org: record.owner.org,
            caller,
        };
        let status = match record.outcome {
            Outcome::Ok => "completed",
            Outcome::Cancelled => "cancelled",
            _ => "failed",
        };
        let event = InferenceEvent {
            inference_id: record.id.to_string(),
            status,
            progress: None,
            model: record.model.as_deref(),
            node: record.node.as_ref().map(|(_, name)| &**name),
            completion_tokens: Some(record.completion_tokens),
            piece: None,
            reason: (status == "failed").then(|| record.outcome.as_str()),
        };
        hub.publish_ended(owner, &event);
    })
}

/// Reads the system's figures.
pub(super) struct Sampler {
    pub(super) hub: Hub,
    pub(super) identity: Identity,
    pub(super) registry: Registry,
    pub(super) figures: Figures,
    pub(super) clock: Arc<dyn Clock>,
}

impl Sampler {
    fn sample(&self) -> Value {
        let fleet = self.registry.snapshot();
        let routable = fleet.nodes.iter().filter(|node| node.is_routable()).count();
        let in_flight: u32 = fleet.nodes.iter().map(|n| n.activity.in_flight()).sum();
        let credentials = self.identity.snapshot();
        json!({
            "nodes": {"total": fleet.nodes.len(), "routable": routable},
            "models": fleet.by_model.len(),
            "inference": {"in_flight": in_flight},
            "figures": self.figures.read(),
            "websocket_clients": self.hub.connections(),
            "credentials": {
                "count": credentials.len(),
                "age_seconds": credentials.age(self.clock.now()).as_secs_f64(),
            },
            "memory": {"resident_bytes": resident_bytes()},
        })
    }
}

/// Returns the memory that the process holds, where the system tells.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
