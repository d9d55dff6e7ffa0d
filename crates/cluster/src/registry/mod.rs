//! The registry: what the rest of Remuda knows this domain by.

mod adopt;
mod check;
mod edit;
mod entry;
mod fleet;
mod reseal;
mod sync;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use primitives::{Clock, MonotonicTime, NodeId};
use scheduling::Health;
use store::{Db, Sealer};
use tokio::sync::{OnceCell, watch as channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use web::InstanceId;
use web::outbound::Client;

pub use self::check::CheckedNode;
pub use self::edit::{AddedNode, EditedNode};
pub use self::sync::ConfigSync;

use self::fleet::{Change, Fleet, Urgency};
use self::watch::ProbeTask;
use crate::activity::NodeActivity;
use crate::agents::{AgentSeats, AgentsConfig, Authority, Heard};
use crate::embedded::EmbeddedNode;
use crate::error::NodeError;
use crate::model::{NodeKind, NodeSource, NodeState, NodeView, ServerFlavour};
use crate::placement::replica_notes::ReplicaNotes;
use crate::probe::Prober;
use crate::probe::contact::Contact;
use crate::record::NodeRecord;
use crate::rollouts::RolloutSplit;
use crate::snapshot::FleetSnapshot;
use crate::spec::{EMBEDDED_NAME, NodeSettings};

/// The most nodes there can be.
pub(crate) const MAX_NODES: usize = 5_000;

/// The id of the engine inside the process: the same at every start, so that records of its requests stay together.
const EMBEDDED_ID: NodeId =
    NodeId::from_uuid(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));

/// How nodes are watched.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The time between two probes of a node; each wait differs by up to a tenth. 10 s by default.
    pub probe_interval: Duration,
    /// The longest wait for one answer of a probe. 5 s by default.
    pub probe_timeout: Duration,
    /// The longest wait for the one-token check. 60 s by default: it may have to load the model.
    pub check_timeout: Duration,
    /// The time between two looks at the database for what other processes changed. 5 s by default.
    pub reconcile_interval: Duration,
    /// Where agents are expected; nowhere by default.
    pub agents: AgentsConfig,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            probe_interval: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(5),
            check_timeout: Duration::from_mins(1),
            reconcile_interval: Duration::from_secs(5),
            agents: AgentsConfig::default(),
        }
    }
}

/// What the registry works with.
#[derive(Clone, Debug)]
pub struct ClusterDeps {
    /// Where nodes are kept.
    pub db: Db,
    /// Encrypts their credentials.
    pub sealer: Arc<Sealer>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Reaches nodes: made for [`Reach::Nodes`](web::outbound::Reach::Nodes).
    pub client: Client,
}

/// What the gateway saw go wrong at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// No connection could be made.
    Connect,
    /// The call hung, or was cut off, before the first byte of its answer.
    Unanswered,
}

/// Keeps the nodes, watches them and publishes what is known of them. Clones share everything.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    client: Client,
    config: ClusterConfig,
    instance: InstanceId,
    fleet: Mutex<Fleet>,
    pub(crate) agents: AgentSeats,
    pub(crate) heard: Heard,
    authority: OnceCell<Arc<Authority>>,
    snapshot: ArcSwap<FleetSnapshot>,
    changes: channel::Sender<u64>,
    notes: ArcSwap<ReplicaNotes>,
    embedded: OnceLock<Embedded>,
    /// One change of the database at a time, and no look at it in the middle of one.
    pub(crate) writing: tokio::sync::Mutex<()>,
    probes: Mutex<HashMap<NodeId, ProbeTask>>,
    watching: OnceLock<CancellationToken>,
    pub(crate) tasks: TaskTracker,
}

struct Embedded {
    engine: Arc<dyn EmbeddedNode>,
    activity: Arc<NodeActivity>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("config", &self.config)
            .field("generation", &self.snapshot.load().generation)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Loads the nodes. Nothing is probed before [`start_probes`](Self::start_probes).
    pub async fn open(deps: ClusterDeps, config: ClusterConfig) -> Result<Self, NodeError> {
        let mut tx = deps.db.write().await?;
        let fresh = InstanceId::generate(deps.clock.now());
        let instance = crate::store::load_or_insert_instance(&mut tx, fresh).await?;
        tx.commit().await?;
        let agents = AgentSeats::new(config.agents.patience);
        if !deps.client.reach_by(Arc::new(agents.clone())) {
            tracing::warn!("the client reaches the agents of another registry");
        }
        let registry = Self {
            inner: Arc::new(Inner {
                instance,
                db: deps.db,
                sealer: deps.sealer,
                clock: deps.clock,
                client: deps.client,
                config,
                fleet: Mutex::new(Fleet::new(agents.clone())),
                agents,
                heard: Heard::default(),
                authority: OnceCell::new(),
                snapshot: ArcSwap::default(),
                changes: channel::Sender::new(0),
                notes: ArcSwap::default(),
                embedded: OnceLock::new(),
                writing: tokio::sync::Mutex::new(()),
                probes: Mutex::default(),
                watching: OnceLock::new(),
                tasks: TaskTracker::new(),
            }),
        };
        registry.reload().await?;
        Ok(registry)
    }

    /// Returns the identity of this installation, the same for all processes that share the database.
    pub fn instance(&self) -> InstanceId {
        self.inner.instance
    }

    /// Returns the fleet as it is now. Cheap: no lock, no wait.
    pub fn snapshot(&self) -> Arc<FleetSnapshot> {
        self.inner.snapshot.load_full()
    }

    /// Returns a channel that shows the generation of the latest snapshot.
    pub fn subscribe(&self) -> channel::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Notes that an answer from `node` made progress. Where a [`NodeView`] is at hand, its activity is the shorter way.
    pub fn report_progress(&self, node: NodeId) {
        if let Some(view) = self.inner.snapshot.load().find_node(node) {
            view.activity.progressed(self.inner.clock.monotonic());
        }
    }

    /// Notes that a call of `model` failed at `node`. The node is looked at at once when that may decide something.
    pub fn report_failure(&self, node: NodeId, model: &str, failure: CallFailure) {
        let now = self.inner.clock.monotonic();
        let urgency = self
            .inner
            .change(|fleet| fleet.call_failed(node, model, failure, now));
        if urgency == Urgency::Now
            && let Some(task) = self.inner.probes.lock().get(&node)
        {
            task.poke();
        }
    }

    /// Looks at a node at once, because something has changed its models.
    pub fn look_again(&self, node: NodeId) {
        if let Some(task) = self.inner.probes.lock().get(&node) {
            task.poke();
        }
    }

    /// Shows the engine inside this process as the node `embedded`. Only the first engine counts.
    pub fn attach_embedded(&self, engine: Arc<dyn EmbeddedNode>) {
        let embedded = Embedded {
            engine,
            activity: Arc::default(),
        };
        if self.inner.embedded.set(embedded).is_err() {
            tracing::warn!("an embedded engine is attached already");
        }
        self.refresh_embedded();
    }

    /// Asks the embedded engine for its models again. Also happens with every look at the database.
    pub fn refresh_embedded(&self) {
        let Some(embedded) = self.inner.embedded.get() else {
            return;
        };
        let now = self.inner.clock.now();
        embedded.activity.seen(now);
        let view = NodeView {
            id: EMBEDDED_ID,
            name: EMBEDDED_NAME.into(),
            kind: NodeKind::Engine,
            server: ServerFlavour::Embedded,
            url: None,
            credential: None,
            version: Some(env!("CARGO_PKG_VERSION").into()),
            state: NodeState::Ready,
            health: Health::Alive,
            draining: false,
            source: NodeSource::Embedded,
            models: embedded.engine.models().into(),
            tags: Arc::default(),
            region: None,
            weight: 1.0,
            max_in_flight: None,
            slots: None,
            pressure: None,
            created_at: now,
            last_error: None,
            activity: Arc::clone(&embedded.activity),
            agent: None,
        };
        self.inner.change(|fleet| fleet.set_embedded(view));
    }

    /// Reads the nodes from the database and takes over what another process changed.
    pub(crate) async fn reload(&self) -> Result<(), NodeError> {
        let _writing = self.inner.writing.lock().await;
        let mut tx = self.inner.db.read().await?;
        let stored = crate::store::list_nodes(&mut tx).await?;
        tx.commit().await?;
        let records: Vec<NodeRecord> = stored
            .into_iter()
            .filter_map(|node| NodeRecord::open(node, &self.inner.sealer))
            .collect();
        self.take_over(records);
        Ok(())
    }

    /// Makes the fleet consist of exactly these nodes.
    fn take_over(&self, records: Vec<NodeRecord>) {
        let gone: Vec<NodeId> = {
            let fleet = self.inner.fleet.lock();
            let stays = |id| records.iter().any(|record| record.id == id);
            fleet
                .records()
                .map(|record| record.id)
                .filter(|id| !stays(*id))
                .collect()
        };
        let to_probe = self.inner.change(|fleet| {
            for id in &gone {
                fleet.remove(*id);
            }
            let mut to_probe = Vec::new();
            for record in records {
                let id = record.id;
                if fleet.put(record) == Change::Probe {
                    to_probe.push(id);
                }
            }
            to_probe
        });
        for id in gone {
            self.stop_probing(id);
        }
        for id in to_probe {
            self.probe_from_now_on(id);
        }
    }

    /// Finds the row of a node that is reached through its agent.
    pub(crate) fn find_agent_node(&self, id: NodeId) -> Option<NodeRecord> {
        let fleet = self.inner.fleet.lock();
        let record = fleet.find(id)?;
        (record.settings.kind == NodeKind::Agent).then(|| record.clone())
    }

    /// Returns who issues the certificates of agents, made at the first use.
    pub(crate) async fn authority(&self) -> Result<Arc<Authority>, NodeError> {
        let inner = &self.inner;
        let opened = inner.authority.get_or_try_init(|| async {
            Authority::open(&inner.db, &inner.sealer, &inner.clock)
                .await
                .map(Arc::new)
        });
        Ok(Arc::clone(opened.await?))
    }

    fn prober(&self, settings: &NodeSettings) -> Prober {
        Prober::new(self.contact_of(settings), settings.kind)
    }

    /// Returns how a node is called; nothing for the embedded engine and for nodes that are gone.
    pub(crate) fn contact(&self, id: NodeId) -> Option<Contact> {
        let fleet = self.inner.fleet.lock();
        fleet
            .find(id)
            .map(|record| self.contact_of(&record.settings))
    }

    fn contact_of(&self, settings: &NodeSettings) -> Contact {
        Contact {
            client: self.inner.client.clone(),
            url: settings.url.clone(),
            credential: settings.credential.clone(),
            timeout: self.inner.config.probe_timeout,
            instance: self.inner.instance,
        }
    }

    /// Returns what is told of replicas beside what nodes say.
    pub(crate) fn notes(&self) -> Arc<ReplicaNotes> {
        self.inner.notes.load_full()
    }

    /// Shows gateways the splits of roll-outs.
    pub(crate) fn show_rollouts(&self, splits: Arc<[RolloutSplit]>) {
        self.inner.change(|fleet| fleet.set_rollouts(splits));
    }

    /// Shows what is to be told of replicas.
    pub(crate) fn show_notes(&self, notes: Arc<ReplicaNotes>) {
        self.inner.notes.store(notes);
    }
}

impl Inner {
    pub(crate) fn agents_config(&self) -> &AgentsConfig {
        &self.config.agents
    }

    pub(crate) fn reconcile_interval(&self) -> Duration {
        self.config.reconcile_interval
    }

    /// Changes the fleet and publishes the outcome, as one step.
    fn change<T>(&self, change: impl FnOnce(&mut Fleet) -> T) -> T {
        let now: MonotonicTime = self.clock.monotonic();
        let mut fleet = self.fleet.lock();
        let outcome = change(&mut fleet);
        if let Some(snapshot) = fleet.refresh(now) {
            let generation = snapshot.generation;
            self.snapshot.store(Arc::new(snapshot));
            self.changes.send_replace(generation);
        }
        outcome
    }
}
