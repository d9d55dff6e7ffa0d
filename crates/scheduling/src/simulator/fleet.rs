//! The fleet that is simulated, described in TOML.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// A fleet: models, nodes, and what happens to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetSpec {
    /// The models.
    pub models: Vec<ModelSpec>,
    /// The nodes, in groups of equal ones.
    pub nodes: Vec<NodeSpec>,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Its name, as in the trace.
    pub name: String,
    /// What it takes of a node's memory.
    #[serde(default)]
    pub bytes: u64,
    /// What a token costs, compared with other models: multiplies into fairness.
    #[serde(default = "one")]
    pub cost: f32,
    /// The share of requests that it gets where the trace names no model.
    #[serde(default = "one")]
    pub share: f32,
}

/// A group of equal nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// The name; a number is added when there are several.
    pub name: String,
    /// How many there are.
    #[serde(default = "one_node")]
    pub count: u32,
    /// Prompt tokens read per second, one prompt after the other.
    pub prefill_tokens_per_s: f32,
    /// Tokens generated per second by one stream alone.
    pub decode_tokens_per_s: f32,
    /// Requests that run at the same time.
    pub slots: u32,
    /// How much slower each stream is when all slots generate: 0.5 means 1.5 times as long.
    #[serde(default = "half")]
    pub slowdown: f32,
    /// The memory for models. Without it all models are always loaded.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Prompt tokens that the prefix cache holds.
    #[serde(default)]
    pub cache_tokens: u64,
    /// Bytes of a model loaded per second.
    #[serde(default = "load_rate")]
    pub load_bytes_per_s: f32,
    /// The largest context, in tokens.
    #[serde(default)]
    pub context: Option<u32>,
    /// The models it has; all when empty.
    #[serde(default)]
    pub models: Vec<String>,
    /// When the nodes of the group fail.
    #[serde(default)]
    pub failures: Vec<FailureSpec>,
}

/// A failure of all nodes of a group.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureSpec {
    /// When it begins, in seconds from the first request.
    pub at_s: f64,
    /// How long the nodes are down, in seconds.
    pub for_s: f64,
    /// How often it happens again, with as much time up as down: a flapping node.
    #[serde(default)]
    pub repeats: u32,
}

fn one() -> f32 {
    1.0
}

fn one_node() -> u32 {
    1
}

fn half() -> f32 {
    0.5
}

fn load_rate() -> f32 {
    2.0e9
}

/// The most nodes and models there may be.
const MAX_NODES: u32 = 100_000;
const MAX_MODELS: usize = 10_000;

/// Why a fleet cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The text is not a fleet.
    #[error("the fleet file cannot be read: {0}")]
    Malformed(#[from] toml::de::Error),
    /// Nothing to run on, or nothing to run.
    #[error("the fleet has no {0}: add at least one [[{0}]]")]
    Empty(&'static str),
    /// More than can be simulated.
    #[error("the fleet has too many {what}: at most {limit}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many there may be.
        limit: u32,
    },
    /// A number that no node or model can have.
    #[error("{owner}: {field} must be {rule}")]
    Impossible {
        /// The node or model.
        owner: String,
        /// The field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// A node has a model that is not described.
    #[error("{node} has the model {model:?}, which no [[models]] describes")]
    UnknownModel {
        /// The node.
        node: String,
        /// The model.
        model: String,
    },
    /// Two models with one name.
    #[error("the model {0:?} is described twice")]
    DoubleModel(String),
    /// A model that no node can run.
    #[error("no node can run {model:?} ({why}): give one of them more memory, or the model")]
    Unplaceable {
        /// The model.
        model: String,
        /// Why.
        why: &'static str,
    },
}

impl FleetSpec {
    /// Reads a fleet from TOML and checks it.
    ///
    /// # Errors
    ///
    /// [`FleetError`] says which node or model cannot be, and what it must be.
    pub fn parse(text: &str) -> Result<Self, FleetError> {
        let fleet: Self = toml::from_str(text)?;
        fleet.check()?;
        Ok(fleet)
    }

    /// Counts the nodes.
    pub fn node_count(&self) -> u64 {
        self.nodes.iter().map(|n| u64::from(n.count)).sum()
    }

    pub(super) fn check(&self) -> Result<(), FleetError> {
        if self.node_count() == 0 {
            return Err(FleetError::Empty("nodes"));
        }
        if self.models.is_empty() {
            return Err(FleetError::Empty("models"));
        }
        if self.node_count() > u64::from(MAX_NODES) {
            return Err(FleetError::TooMany {
                what: "nodes",
                limit: MAX_NODES,
            });
        }
        if self.models.len() > MAX_MODELS {
            return Err(FleetError::TooMany {
                what: "models",
                limit: MAX_MODELS as u32,
            });
        }
        let mut names = HashSet::new();
        for model in &self.models {
            if !names.insert(model.name.as_str()) {
                return Err(FleetError::DoubleModel(model.name.clone()));
            }
            model.check()?;
        }
        for node in &self.nodes {
            node.check(&names)?;
        }
        self.models.iter().try_for_each(|model| self.place(model))
    }

    fn place(&self, model: &ModelSpec) -> Result<(), FleetError> {
        let mut why = "no node has it";
        for node in self.nodes.iter().filter(|n| n.count > 0 && n.has(model)) {
            match node.memory_bytes {
                Some(memory) if memory < model.bytes => why = "it is larger than their memory",
                _ => return Ok(()),
            }
        }
        Err(FleetError::Unplaceable {
            model: model.name.clone(),
            why,
        })
    }
}

impl ModelSpec {
    fn check(&self) -> Result<(), FleetError> {
        let impossible = |field, rule| {
            Err(FleetError::Impossible {
                owner: self.name.clone(),
                field,
                rule,
            })
        };
        if !(self.cost.is_finite() && self.cost > 0.0) {
            return impossible("cost", "above 0");
        }
        if !(self.share.is_finite() && self.share >= 0.0) {
            return impossible("share", "0 or more");
        }
        Ok(())
    }
}

impl NodeSpec {
    pub(super) fn has(&self, model: &ModelSpec) -> bool {
        self.models.is_empty() || self.models.contains(&model.name)
    }

    fn check(&self, models: &HashSet<&str>) -> Result<(), FleetError> {
        let rates = [
            ("prefill_tokens_per_s", self.prefill_tokens_per_s),
            ("decode_tokens_per_s", self.decode_tokens_per_s),
            ("load_bytes_per_s", self.load_bytes_per_s),
        ];
        for (field, rate) in rates {
            if !(rate.is_finite() && (1.0e-3..=1.0e12).contains(&rate)) {
                return self.impossible(field, "from 0.001 to 1e12");
            }
        }
        if !(self.slowdown.is_finite() && (0.0..=1_000.0).contains(&self.slowdown)) {
            return self.impossible("slowdown", "from 0 to 1000");
        }
        if !(1..=65_536).contains(&self.slots) {
            return self.impossible("slots", "from 1 to 65536");
        }
        for failure in &self.failures {
            let valid = |s: f64| s.is_finite() && (0.0..=1.0e9).contains(&s);
            if !valid(failure.at_s) || !valid(failure.for_s) || failure.for_s <= 0.0 {
                return self.impossible("failures", "at a time from 0 on and longer than 0 s");
            }
        }
        match self.models.iter().find(|m| !models.contains(m.as_str())) {
            Some(model) => Err(FleetError::UnknownModel {
                node: self.name.clone(),
                model: model.clone(),
            }),
            None => Ok(()),
        }
    }

    fn impossible(&self, field: &'static str, rule: &'static str) -> Result<(), FleetError> {
        Err(FleetError::Impossible {
            owner: self.name.clone(),
            field,
            rule,
        })
    }
}
