//! What the fleet did: statistics and history, written by the process whose duty that is.

use std::sync::Arc;

use cluster::Registry;
use fleet::{Duty, Fleet, FleetConfig, FleetDeps};
use identity::Identity;
use jobs::Jobs;
use primitives::Clock;
use store::Db;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::StatisticsSection;

/// The lease by which one process writes.
const DUTY: &str = "statistics";

/// Makes the domain and has it look at the nodes and roll up until `stop`.
pub(super) fn open(
    config: &StatisticsSection,
    db: &Db,
    clock: &Arc<dyn Clock>,
    identity: &Identity,
    (registry, jobs): (&Registry, &Jobs),
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> Fleet {
    let jobs = jobs.clone();
    let duty: Duty = Arc::new(move || {
        let jobs = jobs.clone();
        Box::pin(async move { Ok(jobs.take_duty(DUTY).await?.is_some()) })
    });
    let fleet = Fleet::new(FleetDeps {
        db: db.clone(),
        clock: Arc::clone(clock),
        identity: identity.clone(),
        registry: registry.clone(),
        duty,
        config: FleetConfig {
            minutes: config.minutes.0,
            hours: config.hours.0,
            days: config.days.0,
        },
    });
    tasks.spawn(fleet.clone().keep(stop.clone()));
    fleet
}
