//! The connection for calls: kept up, watched, and given up at the first call that takes too long.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use primitives::{Clock, MonotonicTime};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::messages::Radio;
use crate::config::{BadRedisUrl, RedisConfig};
use crate::error::BusError;
use crate::health::Health;
use crate::metrics::Metrics;

/// Time for a connection to come up.
const CONNECT: Duration = Duration::from_secs(2);
/// How often a connection is tried out while nothing else does.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Pauses between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A connection that lived so long was a good one: the next attempt comes at once.
const GOOD_LIFE: Duration = Duration::from_secs(5);
/// How long a call outside of requests may take.
pub(super) const UNHURRIED: Duration = Duration::from_secs(1);

/// Redis as the others here use it.
#[derive(Debug)]
pub(crate) struct Redis {
    client: Client,
    prefix: String,
    patience: Duration,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    connection: ArcSwapOption<MultiplexedConnection>,
    /// Rung when a call has failed.
    doubted: Notify,
    state: Mutex<State>,
    up: watch::Sender<bool>,
    pub(super) radio: Radio,
}

#[derive(Debug)]
struct State {
    since: MonotonicTime,
    /// What the last attempt ended with.
    reason: String,
    took: Duration,
}

impl Redis {
    /// Starts to connect.
    pub(crate) fn start(
        config: &RedisConfig,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Arc<Self>, BadRedisUrl> {
        let client = Client::open(config.url.expose().as_str())
            .map_err(|error| BadRedisUrl(described(&error)))?;
        let redis = Arc::new(Self {
            client,
            prefix: config.prefix.clone(),
            patience: config.patience,
            clock: Arc::clone(clock),
            metrics: Arc::clone(metrics),
            connection: ArcSwapOption::empty(),
            doubted: Notify::new(),
            state: Mutex::new(State {
                since: clock.monotonic(),
                reason: "there was no answer yet".to_owned(),
                took: Duration::ZERO,
            }),
            up: watch::Sender::new(false),
            radio: Radio::new(),
        });
        let keeping = redis.clone().keep_connected();
        let (ended, listening) = (stop.clone(), redis.clone());
        tasks.spawn(async move {
            ended.run_until_cancelled(keeping).await;
        });
        let ended = stop.clone();
        tasks.spawn(async move {
            ended.run_until_cancelled(listening.keep_listening()).await;
        });
        Ok(redis)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the name under which something is kept.
    pub(crate) fn name(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{name}", self.prefix)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Tells whether a call has a chance.
    pub(crate) fn is_up(&self) -> bool {
        self.connection.load().is_some()
    }

    /// Follows whether it is in reach.
    pub(crate) fn follow(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    pub(crate) async fn first_contact(&self, limit: Duration) -> bool {
        let mut up = self.up.subscribe();
        timeout(limit, up.wait_for(|up| *up))
            .await
            .is_ok_and(|known| known.is_ok())
    }

    pub(crate) fn health(&self) -> Health {
        let state = self.state.lock();
        if self.is_up() {
            Health::Well { took: state.took }
        } else {
            Health::Away {
                reason: state.reason.clone(),
                since: self.clock.monotonic().since(state.since),
            }
        }
    }

    /// Calls on behalf of a request: it waits no longer than the configured patience, and not at all once a call has failed, until the
    /// connection has been proven anew.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, BusError> {
        self.call_within(self.patience, ask).await
    }

    /// Calls on nobody's behalf.
    pub(crate) async fn call_unhurried<T: FromRedisValue>(
        &self,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, BusError> {
        self.call_within(UNHURRIED, ask).await
    }

    async fn call_within<T: FromRedisValue>(
        &self,
        patience: Duration,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, BusError> {
        let Some(shared) = self.connection.load_full() else {
            self.metrics.called("away");
            return Err(BusError::Away);
        };
        let mut connection = (*shared).clone();
        match timeout(patience, ask(&mut connection)).await {
            Ok(Ok(answer)) => {
                self.metrics.called("ok");
                Ok(answer)
            }
            Ok(Err(error)) if error.is_io_error() || error.is_unrecoverable_error() => {
                self.metrics.called("failed");
                self.doubt(&shared, described(&error));
                Err(BusError::Away)
            }
            Ok(Err(error)) => {
                self.metrics.called("refused");
                // It may be read-only, or full: the probe writes, and will know.
                self.doubt(&shared, described(&error));
                Err(BusError::Refused(described(&error)))
            }
            Err(_) => {
                self.metrics.called("timeout");
                self.doubt(&shared, format!("it took more than {patience:?}"));
                Err(BusError::Away)
            }
        }
    }

    /// Gives a connection up, once.
    fn doubt(&self, connection: &Arc<MultiplexedConnection>, reason: String) {
        let before = self
            .connection
            .compare_and_swap(connection, None::<Arc<MultiplexedConnection>>);
        if before
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, connection))
        {
            self.went_away(reason);
            self.doubted.notify_one();
        }
    }

    fn went_away(&self, reason: String) {
        tracing::warn!(
            reason,
            "Redis is not in reach: limits are counted by each process for itself"
        );
        self.metrics.up.set(0);
        {
            let mut state = self.state.lock();
            state.since = self.clock.monotonic();
            state.reason = reason;
        }
        self.up.send_replace(false);
    }

    async fn keep_connected(self: Arc<Self>) {
        let mut pause = PAUSES.0;
        loop {
            match self.connect().await {
                Ok((connection, took)) => {
                    let begun = self.clock.monotonic();
                    self.came_back(connection, took);
                    self.watch().await;
                    if self.clock.monotonic().since(begun) > GOOD_LIFE {
                        pause = PAUSES.0;
                    }
                }
                Err(reason) => self.state.lock().reason = reason,
            }
            // Processes that lost it together do not come back together.
            let part = 0.5 + rand::random::<f64>() / 2.0;
            sleep(pause.mul_f64(part)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn connect(&self) -> Result<(MultiplexedConnection, Duration), String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None);
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let mut connection = match timeout(CONNECT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(described(&error)),
            Err(_) => return Err(format!("it took more than {CONNECT:?} to connect")),
        };
        // The first one may be slow because everything is cold.
        self.probe(&mut connection, UNHURRIED).await?;
        let took = self.probe(&mut connection, self.patience).await?;
        Ok((connection, took))
    }

    fn came_back(&self, connection: MultiplexedConnection, took: Duration) {
        self.state.lock().took = took;
        self.connection.store(Some(Arc::new(connection)));
        self.metrics.up.set(1);
        self.metrics.connections.inc();
        self.up.send_replace(true);
        tracing::info!("Redis is in reach: limits are counted together");
    }

    /// Returns when the connection has been given up.
    async fn watch(&self) {
        loop {
            drop(timeout(PROBE_EVERY, self.doubted.notified()).await);
            let Some(shared) = self.connection.load_full() else {
                return;
            };
            match self.probe(&mut (*shared).clone(), UNHURRIED).await {
                Ok(took) => self.state.lock().took = took,
                Err(reason) => {
                    self.doubt(&shared, reason);
                    return;
                }
            }
        }
    }

    /// Writes something: a Redis that can only be read is of no use.
    async fn probe(
        &self,
        connection: &mut MultiplexedConnection,
        patience: Duration,
    ) -> Result<Duration, String> {
        let begun = self.clock.monotonic();
        let mut command = redis::cmd("SET");
        command
            .arg(self.name("probe", "alive"))
            .arg(1)
            .arg("PX")
            .arg(5_000);
        match timeout(patience, command.query_async::<()>(connection)).await {
            Ok(Ok(())) => Ok(self.clock.monotonic().since(begun)),
            Ok(Err(error)) => Err(described(&error)),
            Err(_) => Err(format!("it took more than {patience:?}")),
        }
    }
}

/// Says what is wrong in one line, without what was sent.
pub(super) fn described(error: &redis::RedisError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
