//! What the data plane itself learned about replicas between two snapshots: breakers, speeds, warm prefixes, the retry
//! budget. It outlives snapshots and is trimmed to the fleet.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use parking_lot::Mutex;
use primitives::NodeId;
use scheduling::{Breaker, PolicyName, PrefixIndex, RetryBudget, RoutingPolicy, Speed, policy};

use crate::admission::{Admission, SeatOwner};
use crate::fleet_view::RouteTable;
use crate::metrics::{Metrics, PairSeries};

/// What was learned about one model on one node.
#[derive(Debug)]
pub(crate) struct ReplicaLive {
    pub(crate) breaker: Mutex<Breaker>,
    pub(crate) speed: Mutex<Speed>,
    pub(crate) series: PairSeries,
    /// Its seat in the admission.
    pub(crate) seat: SeatOwner,
}

/// The live state of the fleet.
#[derive(Debug)]
pub(crate) struct LiveFleet {
    pub(crate) admission: Admission,
    replicas: Mutex<HashMap<(NodeId, String), Arc<ReplicaLive>>>,
    policies: Mutex<HashMap<String, Arc<dyn RoutingPolicy>>>,
    pub(crate) prefixes: Mutex<PrefixIndex>,
    pub(crate) retries: Mutex<RetryBudget>,
}

impl LiveFleet {
    /// Makes the state of a fleet about which nothing was learned yet.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            admission: Admission::new(metrics),
            replicas: Mutex::default(),
            policies: Mutex::default(),
            prefixes: Mutex::new(PrefixIndex::new(PrefixIndex::DEFAULT_CAPACITY)),
            retries: Mutex::new(RetryBudget::new()),
        }
    }

    /// Returns the state of a model on a node, made at first use.
    pub(crate) fn replica(
        &self,
        node: NodeId,
        node_name: &str,
        model: &str,
        metrics: &Metrics,
    ) -> Arc<ReplicaLive> {
        self.replicas
            .lock()
            .entry((node, model.to_owned()))
            .or_insert_with(|| {
                // Breakers that opened together should not close together.
                let mut jitter = DefaultHasher::new();
                (node, model).hash(&mut jitter);
                Arc::new(ReplicaLive {
                    breaker: Mutex::new(Breaker::new(jitter.finish())),
                    speed: Mutex::new(Speed::new()),
                    series: metrics.pair(model, node_name),
                    seat: self.admission.open_seat(node, model),
                })
            })
            .clone()
    }

    /// Returns a model's policy. It is kept over snapshots: a policy that takes turns must not start again at each.
    pub(crate) fn policy(&self, model: &str, name: PolicyName) -> Arc<dyn RoutingPolicy> {
        let mut policies = self.policies.lock();
        if let Some(kept) = policies
            .get(model)
            .filter(|kept| kept.name() == name.as_str())
        {
            return kept.clone();
        }
        let made: Arc<dyn RoutingPolicy> = policy(name).into();
        policies.insert(model.to_owned(), made.clone());
        made
    }

    /// Forgets nodes and replicas that the fleet no longer has.
    pub(crate) fn retain(&self, table: &RouteTable) {
        self.prefixes
            .lock()
            .retain_nodes(|node| table.snapshot.find_node(node).is_some());
        self.replicas
            .lock()
            .retain(|(node, model), _| table.has_replica(*node, model));
        self.policies
            .lock()
            .retain(|model, _| table.has_model(model));
    }
}
