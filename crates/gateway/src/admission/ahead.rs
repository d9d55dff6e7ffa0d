//! Loads one more copy of a model ahead of need, when its line is longer than the load takes.
//!
//! The rule is [`scheduling::prewarm`], the place [`scheduling::best_host`]'s: nobody who is in use, or was a moment ago, has to go.
//! Only Ollama's servers can be told to load a model without a call.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialects::ServerKind;
use http::{HeaderValue, Method, header};
use primitives::MonotonicTime;
use scheduling::{BreakerVerdict, Demand, Host, best_host, load_time, prewarm};
use web::outbound::OutboundError;

use super::State;
use super::desk::{Wakes, offer_around};
use super::hall::Hall;
use super::spot::Spot;
use crate::fleet_view::{NodeSpeech, Replica, Route};
use crate::shared::Shared;

/// Longest wait for a node to have loaded a model.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long a model stays at least that was loaded ahead; the first call sets the node's own time again.
const KEEP_ALIVE: &str = "5m";
/// Largest answer that is read.
const ANSWER: usize = 64 << 10;
/// Waiting calls that are looked at for the oldest one of each model.
const LOOKED_AT: usize = 1_000;

/// Looks after the lines of all models: they grow old by time alone. Returns the loads that are worth it, to be
/// [spawned](AheadLoad::spawn) once the lock is released.
pub(super) fn look(shared: &Arc<Shared>, state: &mut State) -> Vec<AheadLoad> {
    let mut seen: HashSet<Arc<str>> = HashSet::new();
    let oldest: Vec<u64> = state
        .hall
        .oldest_parked(LOOKED_AT)
        .filter(|(_, parked)| seen.insert(parked.facts.model.clone()))
        .map(|(key, _)| key)
        .collect();
    let wanted = oldest.into_iter();
    wanted
        .filter_map(|key| load_if_wanted(shared, state, key))
        .collect()
}

/// Finds where to load one more copy of a waiting call's model, if that is worth it, and counts the load as begun. It must be
/// [spawned](AheadLoad::spawn) once the lock is released.
pub(super) fn load_if_wanted(
    shared: &Arc<Shared>,
    state: &mut State,
    key: u64,
) -> Option<AheadLoad> {
    let State { queue, hall } = state;
    let (ticket, model) = hall
        .parked(key)
        .map(|parked| (parked.ticket, parked.facts.model.clone()))?;
    let table = shared.routes.load();
    let route = table.model(&model)?;
    let now = shared.clock.monotonic();
    let hosts: Vec<(&Arc<Replica>, Host)> = route
        .replicas
        .iter()
        .filter_map(|replica| Some((replica, host(hall, route, replica, now)?)))
        .collect();
    // Where nothing can be loaded, nothing is worked out.
    let load_time = hosts.iter().map(|(_, host)| host.load_time).min()?;
    let is_cold = |replica: &&Arc<Replica>| !hall.is_there(replica.live.seat.number());
    let cold = route.replicas.iter().filter(is_cold).count();
    let waiting = hall.waiting_for_all_of(route.key);
    let lanes = route.replicas.iter().flat_map(|replica| {
        let seat = replica.live.seat.number();
        [Spot::Reserved(seat).lane(), Spot::Line(seat).lane()]
    });
    let pace = queue.pace(lanes.chain([Spot::Any(route.key).lane()]), waiting, now);
    let age = queue.age(ticket, now);
    let demand = Demand {
        waiting,
        loaded: (route.replicas.len() - cold) as u32,
        loading: hall.loads.loading(&route.name, now).is_some(),
        expected_wait: pace.max(age).unwrap_or_default(),
        load_time,
    };
    if !prewarm(&demand) {
        return None;
    }
    let only: Vec<Host> = hosts.iter().map(|(_, host)| *host).collect();
    let sizes = hosts
        .iter()
        .filter_map(|(replica, _)| replica.model.size_bytes);
    // Of several sizes the largest is the safe one.
    let bytes = sizes.max()?;
    let (replica, _) = best_host(&only, bytes).and_then(|index| hosts.get(index))?;
    hall.begin_load_ahead(replica.live.seat.number(), now);
    shared.metrics.residency.load("ahead");
    Some(AheadLoad {
        shared: shared.clone(),
        replica: (*replica).clone(),
        done: false,
    })
}

/// Describes a node that could load the model; `None` for those that have it, or cannot be told to load it.
fn host(hall: &Hall, route: &Route, replica: &Replica, now: MonotonicTime) -> Option<Host> {
    let view = &replica.node.view;
    let can_be_told = matches!(
        replica.node.speech,
        NodeSpeech::Http {
            server: ServerKind::Ollama,
            ..
        }
    );
    let may_serve = route.may_be_on(view);
    let seat = replica.live.seat.number();
    if !can_be_told || !may_serve || hall.is_there(seat) || hall.failed_ahead_lately(seat, now) {
        return None;
    }
    let found = hall.findings(seat, now)?;
    let is_well = replica.live.breaker.lock().verdict(now) == BreakerVerdict::Allow;
    Some(Host {
        // Where nothing is loaded nobody has to go, whatever the node has.
        free_bytes: if found.is_empty {
            Some(u64::MAX)
        } else {
            found.models.free_bytes
        },
        unused_bytes: found.unused_bytes,
        busy: found.models.node_loads || !view.is_routable() || !is_well,
        load_time: load_time(replica.model.size_bytes),
    })
}

/// A load that no call waits for at its node. Dropped before it is done it counts as failed.
pub(super) struct AheadLoad {
    shared: Arc<Shared>,
    replica: Arc<Replica>,
    done: bool,
}

impl AheadLoad {
    /// Lets the load run. Not under the lock: a runtime that is closing drops it at once, and that takes the lock.
    pub(super) fn spawn(self) {
        tokio::spawn(self.run());
    }

    async fn run(mut self) {
        let view = &self.replica.node.view;
        let (node, model) = (view.name.clone(), self.replica.model.name.clone());
        match self.ask().await {
            Ok(true) => {
                self.done = true;
                tracing::info!(%node, %model, "a model was loaded ahead of need");
            }
            Ok(false) => tracing::warn!(%node, %model, "the node refused to load a model"),
            Err(error) => {
                tracing::warn!(%node, %model, %error, "a model could not be loaded ahead of need");
            }
        }
    }

    /// Asks the node to load the model; tells whether it did.
    async fn ask(&self) -> Result<bool, OutboundError> {
        let view = &self.replica.node.view;
        let Some(url) = &view.url else {
            return Ok(false);
        };
        let body = serde_json::json!({
            "model": &*self.replica.model.name,
            "keep_alive": KEEP_ALIVE,
            "stream": false,
        });
        let mut call = self
            .shared
            .outbound
            .call(Method::POST, &url.join("/api/generate"))
            .header(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            )
            .header(web::HOPS_HEADER, self.shared.instance_header.clone())
            .bytes(Bytes::from(body.to_string()))
            .head_timeout(PATIENCE)
            .total_timeout(Some(PATIENCE));
        if let Some(credential) = &view.credential {
            call = call.bearer(credential);
        }
        let answer = call.send().await?;
        let status = answer.status();
        answer.bytes(ANSWER).await?;
        Ok(status.is_success())
    }
}

impl Drop for AheadLoad {
    fn drop(&mut self) {
        let seat = self.replica.live.seat.number();
        let now = self.shared.clock.monotonic();
        let wakes: Wakes = {
            let mut state = self.shared.live.admission.state.lock();
            state.hall.load_ahead_ended(seat, self.done, now);
            offer_around(&self.shared, &mut state, seat)
        };
        wakes.send();
        // Who had to go for it, only the node knows.
        self.shared.registry.look_again(self.replica.node.view.id);
    }
}
