//! The hub: what the rest of Remuda knows this crate by.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use identity::Identity;
use primitives::{Clock, RequestId, Timestamp};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::channels::Channels;
use crate::config::HubConfig;
use crate::encode;
use crate::metrics::Metrics;
use crate::seats::Seats;
use crate::standing::Owner;
use crate::topic::Topic;

/// How often it is asked whether credentials changed: an ended one loses its connections within twice that, and the time that the
/// change takes to get here.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks between two rounds of letting go of idle channels.
const SWEEP_EVERY: u32 = 50;

/// Tells whether pages of an origin may connect.
pub type OriginRule = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What the hub works with.
pub struct HubDeps {
    /// Who may.
    pub identity: Identity,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Origins of pages, beside those of the server itself, that may connect.
    pub origins: OriginRule,
    /// Tells histories of this start from those of another one.
    pub seed: u64,
}

/// The hub. Clones share everything.
#[derive(Clone)]
pub struct Hub {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: HubConfig,
    pub(crate) identity: Identity,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) origins: OriginRule,
    pub(crate) channels: Channels,
    pub(crate) seats: Arc<Seats>,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: TaskTracker,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Makes a hub to which nobody is connected.
    pub fn new(deps: HubDeps, config: HubConfig) -> Self {
        let now = deps.clock.now();
        Self {
            inner: Arc::new(Inner {
                channels: Channels::new(&config, deps.seed, now),
                seats: Arc::new(Seats::new(config.max_connections, config.max_per_caller)),
                metrics: Metrics::new(),
                tasks: TaskTracker::new(),
                config,
                identity: deps.identity,
                clock: deps.clock,
                origins: deps.origins,
            }),
        }
    }

    /// Publishes to a topic that is the same for all who may see it; for an inference there is
    /// [`publish_inference`](Self::publish_inference). Never waits.
    pub fn publish(&self, topic: Topic, data: &impl Serialize) {
        let now = self.now();
        self.inner.metrics.published(topic);
        self.inner.channels.publish(topic, now, |position| {
            encode::event(topic, position, now, data)
        });
    }

    /// Publishes a step of an inference to its owner, to the administrators of the owner's organisation, and to who follows it.
    /// Never waits. The first message makes the inference known: it can be followed from then on.
    pub fn publish_inference(&self, id: RequestId, owner: Owner, data: &impl Serialize) {
        let now = self.now();
        let encode = |topic, position| encode::event(topic, position, now, data);
        let inner = &self.inner;
        if !inner.channels.publish_inference(id, owner, now, encode) {
            inner.metrics.dropped.inc();
        }
        self.publish_ended(owner, data);
    }

    /// Publishes the end of an inference that nobody could follow on its way: to its owner and the administrators of the owner's
    /// organisation. Costs two look-ups while none of them listens.
    pub fn publish_ended(&self, owner: Owner, data: &impl Serialize) {
        let now = self.now();
        self.inner.metrics.published(Topic::Inference);
        self.inner
            .channels
            .publish_to_owner(owner, now, |topic, position| {
                encode::event(topic, position, now, data)
            });
    }

    /// Returns how many connections listen to a topic of the platform.
    pub fn listeners(&self, topic: Topic) -> usize {
        self.inner.channels.listeners(topic)
    }

    /// Returns how many are connected.
    pub fn connections(&self) -> usize {
        self.inner.seats.len()
    }

    /// Returns the metrics in the text format, with its end mark.
    pub fn render_metrics(&self) -> String {
        let inner = &self.inner;
        inner.metrics.channels.set(inner.channels.len() as i64);
        inner
            .metrics
            .history_bytes
            .set(inner.channels.held_bytes() as i64);
        inner.metrics.render()
    }

    /// Ends connections whose credential has ended, lets go of idle channels and sends heartbeats, until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = interval(self.inner.config.heartbeat_interval);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.inner.identity.snapshot();
        let mut round = 0_u32;
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    let snapshot = self.inner.identity.snapshot();
                    if !Arc::ptr_eq(&snapshot, &seen) {
                        let now = self.now();
                        for seat in self.inner.seats.all() {
                            seat.check(&snapshot, now);
                        }
                        seen = snapshot;
                    }
                    round = (round + 1) % SWEEP_EVERY;
                    if round == 0 {
                        self.inner.channels.sweep(self.now());
                    }
                }
                _ = beats.tick() => {
                    if self.listeners(Topic::Heartbeat) > 0 {
                        self.publish(Topic::Heartbeat, &serde_json::json!({"status": "alive"}));
                    }
                }
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes no more connections, closes all with 1001 and waits for them, `limit` at most.
    pub async fn shutdown(&self, limit: Duration) {
        self.inner.seats.close();
        self.inner.tasks.close();
        if tokio::time::timeout(limit, self.inner.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = self.connections(),
                "time for draining is over: the remaining WebSocket connections are cut"
            );
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }
}
