//! `[routing]`, `[models."NAME"]` and `[aliases]`: how a model name becomes a node.

use std::collections::{BTreeMap, BTreeSet};

use cluster::model_key;
use scheduling::PolicyName;
use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::Period;

/// How nodes are chosen.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoutingSection {
    /// The policy for models that have none of their own; `remuda` unless set.
    pub policy: PolicyName,
    /// The most nodes tried for one request, the first included; 4 unless set.
    pub max_attempts: usize,
    /// The most times one stream is continued on another node; 8 unless set.
    pub max_continuations: usize,
    /// How long a connection to a node may take to come up; 3 s unless set.
    pub connect_timeout: Period,
    /// The longest wait for the first token of a stream, cold load and prefill included; 300 s unless set.
    pub first_token_timeout: Period,
    /// The longest pause between two tokens before a node counts as stalled; 30 s unless set.
    pub stall_timeout: Period,
    /// The longest wait for an answer that is not streamed; 600 s unless set.
    pub answer_timeout: Period,
    /// The pause after which a waiting SSE client gets a keep-alive comment; 10 s unless set.
    pub keep_alive_interval: Period,
}

impl Default for RoutingSection {
    fn default() -> Self {
        Self {
            policy: PolicyName::default(),
            max_attempts: 4,
            max_continuations: 8,
            connect_timeout: Period::seconds(3),
            first_token_timeout: Period::seconds(300),
            stall_timeout: Period::seconds(30),
            answer_timeout: Period::seconds(600),
            keep_alive_interval: Period::seconds(10),
        }
    }
}

impl RoutingSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        if self.max_attempts == 0 || self.max_attempts > 64 {
            return Err(at.bad(["routing", "max_attempts"], "must be 1 to 64"));
        }
        if self.max_continuations > 64 {
            return Err(at.bad(["routing", "max_continuations"], "must be at most 64"));
        }
        for (key, period) in [
            ("connect_timeout", self.connect_timeout),
            ("first_token_timeout", self.first_token_timeout),
            ("stall_timeout", self.stall_timeout),
            ("answer_timeout", self.answer_timeout),
            ("keep_alive_interval", self.keep_alive_interval),
        ] {
            if period.0.is_zero() {
                return Err(at.bad(["routing", key], "must be longer than zero"));
            }
        }
        Ok(())
    }
}

/// Settings of one model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSection {
    /// The policy for this model.
    pub policy: Option<PolicyName>,
    /// Models to use, in this order, when no node can serve this one.
    pub fallbacks: Vec<String>,
    /// Other names for this model.
    pub aliases: Vec<String>,
    /// Tags that a node must carry to serve this model.
    pub require_tags: Vec<String>,
    /// What its tokens cost in the queue, compared with those of other models: 0.01 to 1000; 1 unless set.
    pub cost: Option<f32>,
    /// Models that callers of this name are divided over, with their weights: `{ "stable" = 95, "next" = 5 }`.
    pub split: BTreeMap<String, u32>,
}

/// Checks names, and that no alias has two meanings or leads back to itself.
pub(super) fn check(
    models: &BTreeMap<String, ModelSection>,
    aliases: &BTreeMap<String, String>,
    at: &Origins,
) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for (alias, model) in aliases {
        if alias.trim().is_empty() || model.trim().is_empty() {
            return Err(at.bad(["aliases", alias], "write it as alias = \"model\""));
        }
        if aliases.keys().any(|other| same_name(other, model)) {
            return Err(at.bad(
                ["aliases", alias],
                format!("{model:?} is itself an alias: name the model"),
            ));
        }
        seen.insert(model_key(alias).into_owned());
    }
    for (name, model) in models {
        for alias in &model.aliases {
            if alias.trim().is_empty() || same_name(alias, name) {
                return Err(at.bad(
                    ["models", name, "aliases"],
                    format!("{alias:?} is not another name"),
                ));
            }
            if !seen.insert(model_key(alias).into_owned()) {
                return Err(at.bad(
                    ["models", name, "aliases"],
                    format!("{alias:?} is an alias already"),
                ));
            }
        }
        if model
            .cost
            .is_some_and(|cost| !(0.01..=1_000.0).contains(&cost))
        {
            return Err(at.bad(["models", name, "cost"], "must be 0.01 to 1000"));
        }
        check_split(name, &model.split, aliases, at)?;
        if model.fallbacks.iter().any(|other| same_name(other, name)) {
            return Err(at.bad(
                ["models", name, "fallbacks"],
                "a model cannot stand in for itself",
            ));
        }
    }
    Ok(())
}

/// Most variants of one split.
const MAX_VARIANTS: usize = 32;

fn check_split(
    name: &str,
    split: &BTreeMap<String, u32>,
    aliases: &BTreeMap<String, String>,
    at: &Origins,
) -> Result<(), ConfigError> {
    let bad = |reason: String| Err(at.bad(["models", name, "split"], reason));
    if split.len() > MAX_VARIANTS {
        return bad(format!("must have at most {MAX_VARIANTS} models"));
    }
    if !split.is_empty() && split.values().all(|weight| *weight == 0) {
        return bad("must give one model a weight above 0".to_owned());
    }
    for variant in split.keys() {
        if variant.trim().is_empty() {
            return bad("write it as { \"model\" = 90, \"other\" = 10 }".to_owned());
        }
        if aliases.keys().any(|alias| same_name(alias, variant)) {
            return bad(format!("{variant:?} is itself an alias: name the model"));
        }
    }
    Ok(())
}

fn same_name(a: &str, b: &str) -> bool {
    model_key(a) == model_key(b)
}
