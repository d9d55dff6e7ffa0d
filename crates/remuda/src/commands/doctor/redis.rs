//! Redis, where the configuration names one.

use std::sync::Arc;
use std::time::Duration;

use bus::Health;
use primitives::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::failure::Failure;
use super::Finding;
use crate::config::Config;
use crate::start::bus::connect;

/// Time that Redis gets to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks whether Redis can be reached and written to from here.
pub(super) async fn check(config: &Config, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    if config.redis.url.is_none() {
        return Ok(());
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let connected = connect(config, &clock, &tasks, &stop);
    findings.push(match connected {
        Err(error) => Finding::broken("redis", error.to_string(), "correct the configuration"),
        Ok(bus) => {
            bus.first_contact(PATIENCE).await;
            match bus.health() {
                Some(Health::Away { reason, .. }) => Finding::broken(
                    "redis",
                    format!("Redis cannot be used: {reason}"),
                    "start it, or correct [redis] url; a server goes on without it, each process counting for itself",
                ),
                Some(Health::Well { took }) => Finding::good(
                    "redis",
                    format!("Redis answers in {:.1} ms", took.as_secs_f64() * 1e3),
                ),
                None => return Ok(()),
            }
        }
    });
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}
