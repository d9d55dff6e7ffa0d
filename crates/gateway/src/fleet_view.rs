//! The fleet's snapshot in the form that routing wants: per model its replicas, each with its address, its learned
//! state and its metrics resolved. Built once per snapshot, then only read.

use std::collections::HashMap;
use std::sync::Arc;

use cluster::{FleetSnapshot, ModelView, NodeKind, NodeView, ServerFlavour, model_key};
use dialects::{Dialect, ServerKind};
use primitives::NodeId;
use scheduling::{Health, PolicyName, Residency, RoutingPolicy, policy};

use crate::admission::ModelKey;
use crate::config::GatewayConfig;
use crate::live::{LiveFleet, ReplicaLive};
use crate::metrics::Metrics;
use crate::record::SplitRecord;
use crate::splitting::{Divided, SplitCaller};
use crate::upstream::Target;

/// How a node is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeSpeech {
    /// Over HTTP in this dialect; the kind of server says what it honours.
    Http {
        /// The dialect.
        dialect: Dialect,
        /// The program.
        server: ServerKind,
    },
    /// By calls into the embedded engine.
    Engine,
}

/// A node with what is needed to call it.
#[derive(Debug)]
pub(crate) struct RouteNode {
    pub(crate) view: Arc<NodeView>,
    pub(crate) speech: NodeSpeech,
    /// Where it is; `None` for the engine and for nodes without a usable address.
    pub(crate) target: Option<Target>,
}

/// One model on one node.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) node: Arc<RouteNode>,
    pub(crate) model: ModelView,
    pub(crate) residency: Residency,
    pub(crate) live: Arc<ReplicaLive>,
}

impl Replica {
    /// Tells whether the node knows the model under exactly this name, and echoes it.
    pub(crate) fn answers_to(&self, name: &str) -> bool {
        name == &*self.model.name
            || (self.node.view.server == ServerFlavour::Ollama
                && model_key(name) == model_key(&self.model.name))
    }
}

/// A model that clients can ask for.
pub(crate) struct Route {
    /// The normalised name.
    pub(crate) name: Arc<str>,
    /// The name as a number.
    pub(crate) key: ModelKey,
    pub(crate) policy: Arc<dyn RoutingPolicy>,
    pub(crate) require_tags: Vec<String>,
    /// What its tokens cost in the queue, compared with those of other models.
    pub(crate) cost: f32,
    pub(crate) replicas: Vec<Arc<Replica>>,
}

/// All models and nodes of one snapshot.
pub(crate) struct RouteTable {
    pub(crate) snapshot: Arc<FleetSnapshot>,
    pub(crate) nodes: Vec<Arc<RouteNode>>,
    models: HashMap<String, Arc<Route>>,
    aliases: HashMap<String, String>,
    fallbacks: HashMap<String, Vec<String>>,
    splits: HashMap<String, Divided>,
}

/// The model that a client means.
pub(crate) struct Found {
    pub(crate) route: Arc<Route>,
    /// What a split chose, where there is one.
    pub(crate) split: Option<Arc<SplitRecord>>,
    /// The only node that may serve it.
    pub(crate) only: Option<NodeId>,
}

impl RouteTable {
    /// Builds the table of a snapshot.
    pub(crate) fn build(
        snapshot: &Arc<FleetSnapshot>,
        config: &GatewayConfig,
        live: &LiveFleet,
        metrics: &Metrics,
    ) -> Self {
        let nodes: Vec<Arc<RouteNode>> = snapshot
            .nodes
            .iter()
            .map(|view| Arc::new(route_node(view)))
            .collect();
        let models = snapshot
            .by_model
            .iter()
            .map(|(name, replicas)| {
                let own = config.models.get(name);
                let replicas = replicas
                    .iter()
                    .filter_map(|replica| {
                        let (view, model) = snapshot.resolve(*replica)?;
                        let node = nodes.get(replica.node)?.clone();
                        let of_pair = live.replica(view.id, &view.name, name, metrics);
                        live.admission.set_rule(of_pair.seat.number(), view);
                        if view.health == Health::Alive && of_pair.breaker.lock().node_reached() {
                            of_pair.series.breaker_open.set(0);
                        }
                        Some(Arc::new(Replica {
                            residency: view.residency(model),
                            live: of_pair,
                            node,
                            model: model.clone(),
                        }))
                    })
                    .collect();
                let route = Route {
                    name: name.as_str().into(),
                    key: ModelKey::of(name),
                    policy: live.policy(name, own.and_then(|m| m.policy).unwrap_or(config.policy)),
                    require_tags: own.map(|m| m.require_tags.clone()).unwrap_or_default(),
                    cost: own.and_then(|m| m.cost).unwrap_or(1.0),
                    replicas,
                };
                (name.clone(), Arc::new(route))
            })
            .collect();
        let key = |name: &String| model_key(name).into_owned();
        Self {
            snapshot: snapshot.clone(),
            nodes,
            models,
            aliases: config
                .aliases
                .iter()
                .map(|(a, m)| (key(a), key(m)))
                .collect(),
            fallbacks: config
                .models
                .iter()
                .map(|(name, m)| (key(name), m.fallbacks.iter().map(key).collect()))
                .collect(),
            splits: splits(snapshot, config),
        }
    }

    /// Returns the route of a model by its normalised name.
    pub(crate) fn model(&self, name: &str) -> Option<&Arc<Route>> {
        self.models.get(name)
    }

    /// Finds the model that a client means: by name, by alias, the caller's variant of a split, or a fallback when no node can serve it
    /// now.
    pub(crate) fn find(&self, name: &str, caller: SplitCaller) -> Option<Found> {
        let key = model_key(name);
        let key = self
            .aliases
            .get(key.as_ref())
            .map_or(key.as_ref(), String::as_str);
        let divided = self.splits.get(key);
        let choice = divided.and_then(|divided| divided.choose(caller));
        let found = |route: &Arc<Route>, only| Found {
            route: route.clone(),
            split: choice.map(|choice| choice.record.clone()),
            only,
        };
        let variant = choice.and_then(|choice| self.models.get(&*choice.record.chosen));
        let only = choice.and_then(|choice| choice.only);
        if let Some(route) = variant
            && route.is_servable_at(only)
        {
            return Some(found(route, only));
        }
        let otherwise = divided.and_then(|divided| divided.otherwise.as_ref());
        let others = otherwise.into_iter().map(String::as_str).chain([key]);
        let fallbacks = self.fallbacks.get(key).into_iter().flatten();
        let all = others.chain(fallbacks.map(String::as_str));
        let servable = all
            .filter_map(|name| self.models.get(name))
            .find(|route| route.is_servable_at(None));
        let route = servable.or(variant).or_else(|| self.models.get(key))?;
        Some(found(route, None))
    }

    /// Returns the model that an alias stands for, or the name itself, normalised.
    pub(crate) fn resolve_alias(&self, name: &str) -> String {
        let key = model_key(name);
        self.aliases
            .get(key.as_ref())
            .cloned()
            .unwrap_or_else(|| key.into_owned())
    }

    /// Lists the names that are no model's own: aliases whose model the fleet has, and splits of which it has a variant.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = (&str, &Arc<Route>)> {
        let aliases = self.aliases.iter();
        let aliases = aliases.filter_map(|(alias, model)| Some((alias, self.models.get(model)?)));
        let splits = self.splits.iter().filter_map(|(name, divided)| {
            let mut models = divided.models();
            Some((name, models.find_map(|model| self.models.get(model))?))
        });
        let all = aliases.chain(splits);
        all.map(|(name, route)| (name.as_str(), route))
    }

    /// Lists all models.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.models.values()
    }

    /// Tells whether any node has a model, by normalised name.
    pub(crate) fn has_model(&self, model: &str) -> bool {
        self.models.contains_key(model)
    }

    /// Tells whether a node has a model, by normalised name.
    pub(crate) fn has_replica(&self, node: NodeId, model: &str) -> bool {
        self.models
            .get(model)
            .is_some_and(|route| route.replicas.iter().any(|r| r.node.view.id == node))
    }

    /// Finds a node by name or id.
    pub(crate) fn find_node(&self, name_or_id: &str) -> Option<&Arc<RouteNode>> {
        self.nodes
            .iter()
            .find(|n| &*n.view.name == name_or_id || n.view.id.to_string() == name_or_id)
    }
}

impl Route {
    /// Tells whether a node carries the tags that a node of this model must.
    pub(crate) fn may_be_on(&self, node: &NodeView) -> bool {
        self.require_tags.iter().all(|tag| node.tags.contains(tag))
    }

    /// Stands for a model that the fleet does not have, in the record of the request that asked for it.
    pub(crate) fn unknown(name: &str) -> Self {
        Self {
            name: model_key(name).into(),
            key: ModelKey::of(&model_key(name)),
            policy: policy(PolicyName::default()).into(),
            require_tags: Vec::new(),
            cost: 1.0,
            replicas: Vec::new(),
        }
    }

    /// Tells whether any node, or this one, may take new requests for this model.
    fn is_servable_at(&self, only: Option<NodeId>) -> bool {
        self.replicas
            .iter()
            .any(|r| r.node.view.is_routable() && only.is_none_or(|node| node == r.node.view.id))
    }
}

/// Makes the splits of roll-outs, and those of the configuration, which come first.
fn splits(snapshot: &FleetSnapshot, config: &GatewayConfig) -> HashMap<String, Divided> {
    let rolled_out = snapshot.rollouts.iter();
    let rolled_out = rolled_out.map(|split| (split.model.clone(), Divided::rolled_out(split)));
    let configured = config.models.iter();
    let configured =
        configured
            .filter(|(_, model)| !model.split.is_empty())
            .map(|(name, model)| {
                let divided = Divided::configured(name, &model.split);
                (model_key(name).into_owned(), divided)
            });
    rolled_out.chain(configured).collect()
}

fn route_node(view: &Arc<NodeView>) -> RouteNode {
    let target = view
        .url
        .as_ref()
        .and_then(|url| Target::new(view.id, url, view.credential.as_ref(), view.agent.as_ref()));
    let server = match view.server {
        ServerFlavour::Ollama => ServerKind::Ollama,
        ServerFlavour::Vllm => ServerKind::Vllm,
        ServerFlavour::LlamaServer => ServerKind::LlamaServer,
        ServerFlavour::LlamaCppPython => ServerKind::LlamaCppPython,
        ServerFlavour::SgLang => ServerKind::SgLang,
        ServerFlavour::LmStudio => ServerKind::LmStudio,
        ServerFlavour::Embedded | ServerFlavour::Other => ServerKind::Other,
    };
    let speech = match view.kind {
        NodeKind::Engine => NodeSpeech::Engine,
        NodeKind::Ollama | NodeKind::Agent => NodeSpeech::Http {
            dialect: Dialect::Ollama,
            server,
        },
        NodeKind::OpenAi | NodeKind::Unknown => NodeSpeech::Http {
            dialect: Dialect::OpenAi,
            server,
        },
    };
    RouteNode {
        view: view.clone(),
        speech,
        target,
    }
}
