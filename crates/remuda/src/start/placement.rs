//! Where models are: what is wanted, carried out by one process of all, with what the data plane tells of their use.

use std::sync::Arc;
use std::time::Duration;

use cluster::{Placement, PlacementConfig, PlacementDeps, Registry};
use gateway::EndObserver;
use identity::Identity;
use jobs::Jobs;
use primitives::Clock;
use realtime::Hub;
use scheduling::placement::DemandRule;
use store::Db;

use crate::config::Config;

/// The duty of reconciling.
const DUTY: &str = "placement";

/// Makes the domain. Nothing is done before it is kept.
pub(super) fn open(
    config: &Config,
    db: &Db,
    clock: &Arc<dyn Clock>,
    identity: &Identity,
    registry: &Registry,
    jobs: &Jobs,
) -> Placement {
    let (section, probes) = (&config.placement, &config.probes);
    let jobs = jobs.clone();
    let deps = PlacementDeps {
        registry: registry.clone(),
        db: db.clone(),
        clock: Arc::clone(clock),
        identity: identity.clone(),
        duty: Arc::new(move || {
            let jobs = jobs.clone();
            Box::pin(async move { jobs.take_duty(DUTY).await })
        }),
    };
    let config = PlacementConfig {
        interval: section.interval.0,
        max_pulls: section.max_pulls,
        copy_bytes_per_second: section.copy_bytes_per_second.0,
        windows: section.parsed_windows(),
        // Three probes, each of which may come a tenth later, and a slow answer.
        fresh_for: probes.interval.0 * 33 / 10 + probes.timeout.0 + Duration::from_secs(1),
        absent_for: section.absent_for.0,
        quiet_for: section.quiet_for.0,
        retention: section.retention.0,
        demand: DemandRule {
            calls_for_each: section.calls_for_each,
            rise: section.rise.0,
            fall: section.fall.0,
        },
    };
    Placement::new(deps, config)
}

/// Has each request that has ended told to placement, and then to the hub.
pub(super) fn observer(placement: Placement, hub: Hub) -> EndObserver {
    let next = super::realtime::observer(hub);
    Arc::new(move |record| {
        if let (Some((node, _)), Some(model)) = (&record.node, &record.model) {
            let took = Duration::from_micros(record.total_us.saturating_sub(record.queue_us));
            let ended = record
                .received_at
                .after(Duration::from_micros(record.total_us));
            placement.note_use(*node, model, took, ended);
        }
        next(record);
    })
}
