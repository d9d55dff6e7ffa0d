//! What people say about a node when they add or change it, and the rules it must keep.

use std::sync::Arc;

use primitives::{Classify, ErrorKind, Secret};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use crate::model::NodeKind;
use crate::node_url::{NodeUrl, NodeUrlError};

/// The name of the node that is the engine inside this process.
pub const EMBEDDED_NAME: &str = "embedded";

const MAX_NAME: usize = 64;
const MAX_TAGS: usize = 32;
const MAX_TAG: usize = 64;
const MAX_KEY: usize = 4_096;
const MAX_IN_FLIGHT: u32 = 100_000;

/// A node as an administrator or the configuration file describes it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name: 1 to 64 letters, digits, `.`, `_` or `-`; unique in the fleet.
    #[schema(example = "gpu1", min_length = 1, max_length = 64)]
    pub name: String,
    /// Where it is. The scheme may be left out; API paths such as `/v1` are removed.
    #[schema(example = "http://10.0.0.7:11434")]
    pub url: String,
    /// Which API it speaks: `ollama` or `openai`; detected when absent.
    #[serde(default)]
    pub kind: Option<NodeKind>,
    /// What to present to it as `Authorization: Bearer`. Stored encrypted, never shown.
    #[serde(default)]
    #[schema(value_type = Option<String>, write_only)]
    pub api_key: Option<Secret<String>>,
    /// Labels that calls can require: at most 32 of 1 to 64 characters.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Where it stands, for people.
    #[serde(default)]
    pub region: Option<String>,
    /// Preference, 0.01 to 100: 2 attracts about twice the work of 1.
    #[serde(default)]
    #[schema(minimum = 0.01, maximum = 100, example = 1.0)]
    pub weight: Option<f32>,
    /// The most requests in flight there at the same time, 1 to 100000.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100_000)]
    pub max_in_flight: Option<u32>,
}

impl NodeSpec {
    /// Describes a node of which everything else is to be detected.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            kind: None,
            api_key: None,
            tags: Vec::new(),
            region: None,
            weight: None,
            max_in_flight: None,
        }
    }

    /// Checks every rule.
    pub(crate) fn check(self) -> Result<NodeSettings, InvalidNode> {
        Ok(NodeSettings {
            name: check_name(&self.name)?,
            url: self.url.parse()?,
            kind: check_kind(self.kind)?,
            credential: check_key(self.api_key)?,
            tags: check_tags(self.tags)?,
            region: check_region(self.region)?,
            weight: check_weight(self.weight)?,
            max_in_flight: check_max_in_flight(self.max_in_flight)?,
        })
    }
}

/// Where a server may be that could become a node.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeAddress {
    /// The address. The scheme may be left out; API paths such as `/v1` are removed.
    #[schema(example = "http://10.0.0.7:11434")]
    pub url: String,
    /// Which API it speaks: `ollama` or `openai`; detected when absent.
    #[serde(default)]
    pub kind: Option<NodeKind>,
    /// What to present to it as `Authorization: Bearer`. Not kept.
    #[serde(default)]
    #[schema(value_type = Option<String>, write_only)]
    pub api_key: Option<Secret<String>>,
}

impl NodeAddress {
    /// Checks every rule; the name is of no importance.
    pub(crate) fn check(self) -> Result<NodeSettings, InvalidNode> {
        let mut spec = NodeSpec::new("checked", self.url);
        spec.kind = self.kind;
        spec.api_key = self.api_key;
        spec.check()
    }
}

/// Changes to a node: fields that are absent stay as they are, `null` takes a value away.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeEdit {
    /// Another name.
    pub name: Option<String>,
    /// Another address. What was learned from the old one is forgotten.
    pub url: Option<String>,
    /// Another API: `ollama` or `openai`; `null` has it detected again.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<NodeKind>)]
    pub kind: Option<Option<NodeKind>>,
    /// Another key; `null` removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, write_only)]
    pub api_key: Option<Option<Secret<String>>>,
    /// Other labels, replacing all.
    pub tags: Option<Vec<String>>,
    /// Another place; `null` removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub region: Option<Option<String>>,
    /// Another preference, 0.01 to 100.
    #[schema(minimum = 0.01, maximum = 100)]
    pub weight: Option<f32>,
    /// Another ceiling, 1 to 100000; `null` removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    pub max_in_flight: Option<Option<u32>>,
}

impl NodeEdit {
    /// Applies the changes to what is there.
    pub(crate) fn apply(self, present: &NodeSettings) -> Result<NodeSettings, InvalidNode> {
        let mut settings = present.clone();
        if let Some(name) = self.name {
            settings.name = check_name(&name)?;
        }
        if let Some(url) = self.url {
            settings.url = url.parse()?;
        }
        if let Some(kind) = self.kind {
            settings.kind = check_kind(kind)?;
        }
        if let Some(key) = self.api_key {
            settings.credential = check_key(key)?;
        }
        if let Some(tags) = self.tags {
            settings.tags = check_tags(tags)?;
        }
        if let Some(region) = self.region {
            settings.region = check_region(region)?;
        }
        if self.weight.is_some() {
            settings.weight = check_weight(self.weight)?;
        }
        if let Some(limit) = self.max_in_flight {
            settings.max_in_flight = check_max_in_flight(limit)?;
        }
        Ok(settings)
    }
}

/// Tells a field that is `null` from one that is absent.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A checked description of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeSettings {
    pub(crate) name: Arc<str>,
    pub(crate) url: NodeUrl,
    /// `Unknown` when it is to be detected.
    pub(crate) kind: NodeKind,
    pub(crate) credential: Option<Arc<Secret<String>>>,
    pub(crate) tags: Arc<[String]>,
    pub(crate) region: Option<Arc<str>>,
    pub(crate) weight: f32,
    pub(crate) max_in_flight: Option<u32>,
}

impl NodeSettings {
    /// Tells whether a probe of the one says anything about the other.
    pub(crate) fn reaches_the_same_as(&self, other: &Self) -> bool {
        self.url == other.url && self.kind == other.kind && self.credential == other.credential
    }
}

/// Why a description of a node is not valid, and what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNode {
    /// The name.
    #[error("the name {0:?} is not valid: use 1 to 64 letters, digits, '.', '_' or '-', and no id")]
    Name(String),
    /// The name of the embedded engine.
    #[error("the name \"embedded\" belongs to the engine inside Remuda: choose another")]
    ReservedName,
    /// The address.
    #[error(transparent)]
    Url(#[from] NodeUrlError),
    /// A kind that cannot be chosen.
    #[error("a node is of kind ollama or openai: leave the kind out to have it detected")]
    Kind,
    /// The key.
    #[error(
        "the api_key is not valid: at most 4096 visible ASCII characters, without spaces or line breaks"
    )]
    ApiKey,
    /// A tag.
    #[error(
        "the tags are not valid: at most 32, each 1 to 64 characters without control characters"
    )]
    Tags,
    /// The region.
    #[error("the region is not valid: 1 to 64 characters without control characters")]
    Region,
    /// The weight.
    #[error("the weight must be between 0.01 and 100")]
    Weight,
    /// The ceiling.
    #[error("max_in_flight must be between 1 and 100000")]
    MaxInFlight,
}

impl Classify for InvalidNode {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn public_message(&self) -> String {
        self.to_string()
    }
}

fn check_name(name: &str) -> Result<Arc<str>, InvalidNode> {
    if name.eq_ignore_ascii_case(EMBEDDED_NAME) {
        return Err(InvalidNode::ReservedName);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_id = name.parse::<primitives::NodeId>().is_ok();
    // A path of dots would be resolved away by clients.
    let only_dots = name.chars().all(|c| c == '.');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) || is_id || only_dots
    {
        return Err(InvalidNode::Name(name.chars().take(MAX_NAME).collect()));
    }
    Ok(name.into())
}

fn check_kind(kind: Option<NodeKind>) -> Result<NodeKind, InvalidNode> {
    match kind {
        None => Ok(NodeKind::Unknown),
        Some(kind @ (NodeKind::Ollama | NodeKind::OpenAi)) => Ok(kind),
        Some(NodeKind::Agent | NodeKind::Engine | NodeKind::Unknown) => Err(InvalidNode::Kind),
    }
}

fn check_key(key: Option<Secret<String>>) -> Result<Option<Arc<Secret<String>>>, InvalidNode> {
    let Some(key) = key else { return Ok(None) };
    let text = key.expose();
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > MAX_KEY || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(InvalidNode::ApiKey);
    }
    Ok(Some(Arc::new(key)))
}

fn is_label(text: &str) -> bool {
    (1..=MAX_TAG).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn check_tags(mut tags: Vec<String>) -> Result<Arc<[String]>, InvalidNode> {
    if tags.len() > MAX_TAGS || !tags.iter().all(|tag| is_label(tag)) {
        return Err(InvalidNode::Tags);
    }
    tags.sort();
    tags.dedup();
    Ok(tags.into())
}

fn check_region(region: Option<String>) -> Result<Option<Arc<str>>, InvalidNode> {
    match region {
        Some(region) if !is_label(&region) => Err(InvalidNode::Region),
        region => Ok(region.map(Into::into)),
    }
}

fn check_weight(weight: Option<f32>) -> Result<f32, InvalidNode> {
    let weight = weight.unwrap_or(1.0);
    if (0.01..=100.0).contains(&weight) {
        Ok(weight)
    } else {
        Err(InvalidNode::Weight)
    }
}

fn check_max_in_flight(limit: Option<u32>) -> Result<Option<u32>, InvalidNode> {
    match limit {
        Some(limit) if !(1..=MAX_IN_FLIGHT).contains(&limit) => Err(InvalidNode::MaxInFlight),
        limit => Ok(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> Result<NodeSettings, InvalidNode> {
        serde_json::from_value::<NodeSpec>(json).unwrap().check()
    }

    #[test]
    fn a_name_and_an_address_are_enough() {
        let settings = spec(serde_json::json!({"name": "gpu1", "url": "gpu1:11434/v1"})).unwrap();
        assert_eq!(settings.url.as_str(), "http://gpu1:11434");
        assert_eq!((settings.kind, settings.weight), (NodeKind::Unknown, 1.0));
    }

    #[test]
    fn every_rule_refuses_with_what_is_allowed() {
        let with = |field: &str, value: serde_json::Value| {
            let mut json = serde_json::json!({"name": "a", "url": "http://a"});
            json[field] = value;
            spec(json).unwrap_err().to_string()
        };
        assert!(with("name", "a b".into()).contains("letters, digits"));
        assert!(with("name", "..".into()).contains("letters, digits"));
        assert!(with("name", "Embedded".into()).contains("engine inside Remuda"));
        assert!(with("name", "0198c0de-0000-7000-8000-000000000001".into()).contains("no id"));
        assert!(with("url", "ftp://x".into()).contains("http"));
        assert!(with("kind", "engine".into()).contains("ollama or openai"));
        assert!(with("api_key", "two words".into()).contains("api_key"));
        assert!(with("tags", serde_json::json!([""])).contains("tags"));
        assert!(with("region", "\n".into()).contains("region"));
        assert!(with("weight", 0.into()).contains("0.01 and 100"));
        assert!(with("max_in_flight", 0.into()).contains("1 and 100000"));
    }

    #[test]
    fn an_edit_changes_what_it_names_and_null_takes_away() {
        let before = spec(serde_json::json!({
            "name": "a", "url": "http://a", "api_key": "k", "region": "attic", "tags": ["gpu"], "max_in_flight": 4
        }))
        .unwrap();
        let edit: NodeEdit =
            serde_json::from_value(serde_json::json!({"weight": 2.0, "region": null})).unwrap();
        let after = edit.apply(&before).unwrap();
        assert_eq!((after.weight, after.region.as_deref()), (2.0, None));
        assert_eq!((after.max_in_flight, &after.tags), (Some(4), &before.tags));
        assert!(after.reaches_the_same_as(&before));
        let edit: NodeEdit = serde_json::from_value(serde_json::json!({"api_key": null})).unwrap();
        assert!(!edit.apply(&before).unwrap().reaches_the_same_as(&before));
    }
}
