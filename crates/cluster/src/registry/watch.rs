//! Watches nodes: one task each, and one that looks for what other processes changed.

use std::sync::Arc;
use std::time::Duration;

use agent_proto::node_host;
use primitives::NodeId;
use scheduling::{LivenessEvent, ProbeFailure};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::{Inner, Registry};
use crate::model::{NodeKind, NodeState};
use crate::probe::Prober;
use crate::probe::check::check;

/// The least time between two probes of a node, however many calls fail there.
const LEAST_GAP: Duration = Duration::from_millis(200);

/// The task that watches one node.
#[derive(Debug)]
pub(super) struct ProbeTask {
    stop: CancellationToken,
    wake: Arc<Notify>,
}

impl ProbeTask {
    /// Has the node probed before its time.
    pub(super) fn poke(&self) {
        self.wake.notify_one();
    }
}

impl Drop for ProbeTask {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Registry {
    /// Starts watching: every node is probed at once and from then on regularly, until `stop` is cancelled.
    pub fn start_probes(&self, stop: CancellationToken) {
        if self.inner.watching.set(stop.clone()).is_err() {
            tracing::warn!("nodes are being watched already");
            return;
        }
        let ids: Vec<NodeId> = self
            .inner
            .fleet
            .lock()
            .records()
            .map(|record| record.id)
            .collect();
        for id in ids {
            self.probe_from_now_on(id);
        }
        let registry = self.clone();
        self.inner.tasks.spawn(async move {
            stop.run_until_cancelled(registry.reconcile()).await;
            registry.inner.probes.lock().clear();
        });
    }

    /// Waits until every node was probed once, at most `limit`. Returns whether all were.
    pub async fn first_contact(&self, limit: Duration) -> bool {
        let mut changes = self.subscribe();
        let all_met = async {
            loop {
                let waiting = self
                    .snapshot()
                    .nodes
                    .iter()
                    .any(|node| matches!(node.state, NodeState::New));
                if !waiting || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, all_met).await.is_ok()
    }

    /// Waits until everything that [`start_probes`](Self::start_probes) started has ended after its cancellation.
    pub async fn stopped(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Probes a node before its time, as when a person asks.
    pub(super) fn probe_from_now_on(&self, id: NodeId) {
        let Some(watching) = self.inner.watching.get() else {
            return;
        };
        let Some(prober) = self
            .inner
            .fleet
            .lock()
            .find(id)
            .map(|record| self.prober(&record.settings))
        else {
            return;
        };
        let stop = watching.child_token();
        let wake = Arc::new(Notify::new());
        let task = ProbeTask {
            stop: stop.clone(),
            wake: Arc::clone(&wake),
        };
        // The task that watched the old address, if any, ends with its handle.
        self.inner.probes.lock().insert(id, task);
        let inner = Arc::clone(&self.inner);
        self.inner.tasks.spawn(async move {
            stop.run_until_cancelled(watch(&inner, id, prober, &wake))
                .await;
        });
    }

    pub(super) fn stop_probing(&self, id: NodeId) {
        self.inner.probes.lock().remove(&id);
    }

    async fn reconcile(&self) {
        let mut ticks = interval(self.inner.config.reconcile_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reachable = true;
        loop {
            ticks.tick().await;
            self.refresh_embedded();
            match self.reload().await {
                Ok(()) if !reachable => {
                    reachable = true;
                    tracing::info!("the nodes are read from the database again");
                }
                Err(error) if reachable => {
                    reachable = false;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the nodes cannot be read from the database: going on with those in memory"
                    );
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}

async fn watch(inner: &Inner, id: NodeId, mut prober: Prober, wake: &Notify) {
    for round in 0_u64.. {
        probe_once(inner, id, &mut prober).await;
        check_if_doubted(inner, id, &prober).await;
        sleep(LEAST_GAP).await;
        let rest = jittered(inner.config.probe_interval, id, round).saturating_sub(LEAST_GAP);
        tokio::select! {
            () = sleep(rest) => {}
            () = wake.notified() => {}
        }
    }
}

async fn probe_once(inner: &Inner, id: NodeId, prober: &mut Prober) {
    // An agent that is not there says more than a connection that fails.
    let problem = inner.agents.find(id).and_then(|seat| seat.problem());
    if let Some(problem) = problem {
        let now = inner.clock.monotonic();
        inner.change(|fleet| {
            fleet.probe_failed(id, ProbeFailure::Unreachable, &problem, now);
        });
        return;
    }
    let outcome = Box::pin(prober.probe()).await;
    let (now, civil) = (inner.clock.monotonic(), inner.clock.now());
    inner.change(|fleet| match outcome {
        Ok(learned) => fleet.learned(id, learned, now, civil),
        Err(error) => {
            // The host of a node with an agent is a name of ours that tells people nothing.
            let host = node_host(&id.to_string());
            let reason = error.to_string();
            let reason = reason.replace(&format!("cannot connect to {host}: "), "");
            let reason = reason.replace(&host, "the model server beside the agent");
            fleet.probe_failed(id, error.failure(), &reason, now);
        }
    });
}

/// Lets one token decide about a node that answers probes but not calls.
async fn check_if_doubted(inner: &Inner, id: NodeId, prober: &Prober) {
    let wanted = inner.fleet.lock().wanted_check(id, inner.clock.monotonic());
    let Some((kind, model)) = wanted else { return };
    if kind == NodeKind::Unknown {
        return;
    }
    let event = match check(&prober.contact, kind, &model, inner.config.check_timeout).await {
        Ok(()) => LivenessEvent::CheckAnswered,
        Err(error) => {
            tracing::info!(node = %prober.contact.url, model = &*model.name, error = %error, "the one-token check failed");
            LivenessEvent::CheckFailed
        }
    };
    let now = inner.clock.monotonic();
    inner.change(|fleet| fleet.checked(id, event, now));
}

/// Returns `base` changed by up to a tenth, another part for each node and round, so that probes do not come in bursts.
fn jittered(base: Duration, id: NodeId, round: u64) -> Duration {
    let seed = id.as_uuid().as_u128() as u64 ^ round.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (seed ^ (seed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let part = (mixed >> 40) as f64 / f64::from(1_u32 << 24);
    base.mul_f64(0.9 + 0.2 * part)
}

#[cfg(test)]
mod tests {
    use primitives::Timestamp;

    use super::*;

    #[test]
    fn probes_of_many_nodes_spread_within_a_tenth() {
        let base = Duration::from_secs(10);
        let waits: Vec<Duration> = (0..100)
            .map(|round| jittered(base, NodeId::generate(Timestamp::from_micros(round)), 3))
            .collect();
        assert!(
            waits
                .iter()
                .all(|wait| (9.0..=11.0).contains(&wait.as_secs_f64()))
        );
        let early = waits.iter().filter(|wait| **wait < base).count();
        assert!((20..=80).contains(&early), "{early}");
    }
}
