//! What the fleet did: statistics and history, written by the process whose duty that is.

use std::sync::Arc;

use cluster::Registry;
use fleet::{Duty, Fleet, FleetConfig, FleetDeps};
use identity::Identity;
use jobs::Jobs;
use primitives::Clock;
use store::Db;

use crate::config::Config;

/// The lease by which one process writes.
const DUTY: &str = "statistics";

/// Makes the domain. Nothing is written before it is kept.
pub(super) fn open(
    config: &Config,
    db: &Db,
    clock: &Arc<dyn Clock>,
    identity: &Identity,
    registry: &Registry,
    jobs: &Jobs,
) -> Fleet {
    let section = &config.statistics;
    let jobs = jobs.clone();
    let duty: Duty = Arc::new(move || {
        let jobs = jobs.clone();
        Box::pin(async move { Ok(jobs.take_duty(DUTY).await?.is_some()) })
    });
    Fleet::new(FleetDeps {
        db: db.clone(),
        clock: Arc::clone(clock),
        identity: identity.clone(),
        registry: registry.clone(),
        duty,
        config: FleetConfig {
            minutes: section.minutes.0,
            hours: section.hours.0,
            days: section.days.0,
        },
    })
}
