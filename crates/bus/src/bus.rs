//! The entrance: chooses the means and starts what keeps the connection.

use std::sync::Arc;
use std::time::Duration;

use primitives::Clock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::allowances::Allowances;
use crate::config::{BadRedisUrl, RedisConfig};
use crate::health::Health;
use crate::memory::Memory;
use crate::messages::Messages;
use crate::metrics::Metrics;
use crate::redis::Redis;

/// What processes share. Clones share everything.
#[derive(Clone, Debug)]
pub struct Bus {
    messages: Arc<dyn Messages>,
    pub(crate) redis: Option<Arc<Redis>>,
    allowances: Option<Allowances>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Bus {
    /// Makes one for a process that shares with nobody.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        Self {
            messages: Arc::new(Memory::new()),
            redis: None,
            allowances: None,
            metrics: Arc::new(Metrics::new()),
            clock,
        }
    }

    /// Makes one that shares through Redis, and keeps the connection on the caller's runtime until `stop`. Redis need not be there.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn through_redis(
        config: &RedisConfig,
        clock: Arc<dyn Clock>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, BadRedisUrl> {
        let metrics = Arc::new(Metrics::new());
        let redis = Redis::start(config, &clock, &metrics, tasks, stop)?;
        Ok(Self {
            messages: redis.clone(),
            allowances: Some(Allowances::start(redis.clone(), tasks, stop)),
            redis: Some(redis),
            metrics,
            clock,
        })
    }

    /// Waits until Redis is in reach, for `limit` at most. Returns whether it is; true where there is none.
    pub async fn first_contact(&self, limit: Duration) -> bool {
        match &self.redis {
            Some(redis) => redis.first_contact(limit).await,
            None => true,
        }
    }

    /// Returns what carries messages.
    pub fn messages(&self) -> &Arc<dyn Messages> {
        &self.messages
    }

    /// Returns what is counted together with other processes; `None`: this process counts for itself.
    pub fn allowances(&self) -> Option<&Allowances> {
        self.allowances.as_ref()
    }

    /// Tells how Redis is; `None` where there is none.
    pub fn health(&self) -> Option<Health> {
        self.redis.as_ref().map(|redis| redis.health())
    }

    /// Writes the metrics in the text format, with its end mark.
    pub fn render_metrics(&self) -> String {
        self.metrics.render(self.redis.is_some())
    }
}
