//! What this process shares with others beside the database.

use std::sync::Arc;
use std::time::Duration;

use ::bus::Bus;
use identity::limits::Limiter;
use primitives::Clock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;
use super::tasks::Tasks;
use crate::config::{Config, ConfigError, Origins};

/// Time that the start waits for Redis. Longer is of no use: everything works without it.
const FIRST_CONTACT: Duration = Duration::from_secs(2);

/// Opens the bus, and waits a moment for Redis where there is one.
pub(super) async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Result<Bus, StartError> {
    let bus = connect(config, clock, &tasks.of("redis"), stop)?;
    if !bus.first_contact(FIRST_CONTACT).await {
        tracing::warn!(
            "Redis ([redis] url) is not in reach: limits are counted by this process for itself until it is"
        );
    }
    Ok(bus)
}

/// Opens the bus without a wait.
pub(crate) fn connect(
    config: &Config,
    clock: &Arc<dyn Clock>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Bus, ConfigError> {
    let Some(redis) = config.redis.bus() else {
        return Ok(Bus::in_memory(Arc::clone(clock)));
    };
    Bus::through_redis(&redis, Arc::clone(clock), tasks, stop)
        .map_err(|error| Origins::default().bad(["redis", "url"], error.to_string()))
}

/// Makes the limiter: limits are counted together with all that share the bus.
pub(super) fn limiter(bus: &Bus) -> Limiter {
    match bus.allowances() {
        Some(allowances) => Limiter::sharing(allowances.clone()),
        None => Limiter::default(),
    }
}
