//! The nodes and models of the fleet, as a snapshot shows them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use primitives::{NodeId, Secret, Timestamp};
use scheduling::placement::ModelShape;
use scheduling::{Health, Residency, WorkingProbes};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::activity::NodeActivity;
use crate::agents::AgentSeat;
use crate::node_url::NodeUrl;

/// Which API a node is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// The Ollama API.
    Ollama,
    /// The OpenAI API, whichever server implements it.
    OpenAi,
    /// A Remuda agent beside a model server.
    Agent,
    /// The engine inside this process.
    Engine,
    /// Not detected yet: the node was never reached.
    #[default]
    Unknown,
}

impl NodeKind {
    /// Returns the name used in configuration, JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::OpenAi => "openai",
            Self::Agent => "agent",
            Self::Engine => "engine",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no kind of node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of node: use ollama or openai, or leave it out to have it detected")]
pub struct UnknownNodeKind;

impl FromStr for NodeKind {
    type Err = UnknownNodeKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            Self::Ollama,
            Self::OpenAi,
            Self::Agent,
            Self::Engine,
            Self::Unknown,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or(UnknownNodeKind)
    }
}

/// Which program answers at a node: servers of one kind differ in what they can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServerFlavour {
    /// Ollama.
    Ollama,
    /// vLLM.
    Vllm,
    /// llama.cpp's own server.
    LlamaServer,
    /// The server of llama-cpp-python.
    LlamaCppPython,
    /// `SGLang`.
    #[serde(rename = "sglang")]
    SgLang,
    /// LM Studio.
    LmStudio,
    /// The engine inside this process.
    Embedded,
    /// Something else that speaks the node's API.
    #[default]
    Other,
}

impl ServerFlavour {
    /// Returns the name used in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::LlamaServer => "llama-server",
            Self::LlamaCppPython => "llama-cpp-python",
            Self::SgLang => "sglang",
            Self::LmStudio => "lm-studio",
            Self::Embedded => "embedded",
            Self::Other => "other",
        }
    }
}

impl ServerFlavour {
    /// Tells whether it answers probes while it works on calls. What is not known to do so gets patience.
    pub(crate) const fn working_probes(self) -> WorkingProbes {
        match self {
            Self::Ollama | Self::Vllm | Self::LlamaServer | Self::SgLang => WorkingProbes::Answered,
            Self::LlamaCppPython | Self::LmStudio | Self::Embedded | Self::Other => {
                WorkingProbes::MaybeUnanswered
            }
        }
    }
}

impl fmt::Display for ServerFlavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who brought a node into the fleet, and so who may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeSource {
    /// An administrator, through the API.
    Api,
    /// The configuration file: changed only there.
    Config,
    /// Found on this machine.
    Discovered,
    /// Part of this process.
    Embedded,
}

impl NodeSource {
    /// Returns the name used in the database and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Config => "config",
            Self::Discovered => "discovered",
            Self::Embedded => "embedded",
        }
    }

    /// Reads the name back.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Api, Self::Config, Self::Discovered, Self::Embedded]
            .into_iter()
            .find(|source| source.as_str() == name)
    }
}

/// What a node is good for at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Never reached yet.
    New,
    /// Answers.
    Ready,
    /// Works, and is slow to answer probes.
    Busy,
    /// Answers probes, but there are doubts; still gets calls when nothing better is left.
    Suspect {
        /// What the doubt rests on.
        reason: Arc<str>,
    },
    /// Gets no calls.
    Unhealthy {
        /// What is wrong.
        reason: Arc<str>,
    },
    /// Finishes what it has and gets nothing new.
    Draining,
}

impl NodeState {
    /// Every state's name, for filters and messages.
    pub const NAMES: [&str; 6] = ["new", "ready", "busy", "suspect", "unhealthy", "draining"];

    /// Returns the name used in JSON and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Suspect { .. } => "suspect",
            Self::Unhealthy { .. } => "unhealthy",
            Self::Draining => "draining",
        }
    }

    /// Returns what the state rests on, for states that need saying why.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Suspect { reason } | Self::Unhealthy { reason } => Some(reason),
            Self::New | Self::Ready | Self::Busy | Self::Draining => None,
        }
    }
}

/// One node. Immutable: a change makes another view in a later snapshot.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// The node's id, the same for its whole life.
    pub id: NodeId,
    /// Its name: unique in the fleet, chosen by people.
    pub name: Arc<str>,
    /// Which API it speaks, also where an agent stands between.
    pub kind: NodeKind,
    /// Which program answers there.
    pub server: ServerFlavour,
    /// Where it is; `None` for the embedded engine.
    pub url: Option<NodeUrl>,
    /// What to present as `Authorization: Bearer`.
    pub credential: Option<Arc<Secret<String>>>,
    /// The program's version, as it says.
    pub version: Option<Arc<str>>,
    /// What it is good for.
    pub state: NodeState,
    /// Liveness alone, without draining: what routing policies want to know.
    pub health: Health,
    /// Whether it gets nothing new.
    pub draining: bool,
    /// Who brought it into the fleet.
    pub source: NodeSource,
    /// Its models, by name.
    pub models: Arc<[ModelView]>,
    /// Labels that calls can require.
    pub tags: Arc<[String]>,
    /// Where it stands, for people.
    pub region: Option<Arc<str>>,
    /// The operator's preference, 0.01 to 100; 1 is neutral.
    pub weight: f32,
    /// The operator's ceiling for requests in flight.
    pub max_in_flight: Option<u32>,
    /// Requests it works on at the same time, where it tells.
    pub slots: Option<u32>,
    /// How hard pressed it was at the last probe, where it tells.
    pub pressure: Option<Pressure>,
    /// When it was added.
    pub created_at: Timestamp,
    /// Why the last probe failed; `None` when it was answered.
    pub last_error: Option<Arc<str>>,
    /// What the gateway does there right now. Shared by all views of the node.
    pub activity: Arc<NodeActivity>,
    /// Where its agent's connection is found, for nodes that are reached through one. Shared by all views of the node.
    pub agent: Option<Arc<AgentSeat>>,
}

/// How hard pressed a server says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Pressure {
    /// Requests that wait there, sent by whomever.
    pub waiting: u32,
    /// Use of its cache for keys and values, in percent, in steps of 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_used_percent: Option<u8>,
}

impl Pressure {
    /// From this use on new prompts displace answers that are under way.
    const FULL_PERCENT: u8 = 95;

    /// Tells whether it has more to do than it can at once.
    pub fn is_high(&self) -> bool {
        self.waiting > 0
            || self
                .cache_used_percent
                .is_some_and(|used| used >= Self::FULL_PERCENT)
    }
}

impl NodeView {
    /// Tells whether new calls may go there.
    pub fn is_routable(&self) -> bool {
        !self.draining && self.health != Health::Dead
    }

    /// Returns where one of the node's models is, in the words of routing policies.
    pub const fn residency(&self, model: &ModelView) -> Residency {
        match (&model.loaded, self.kind, self.server) {
            (Some(loaded), ..) => Residency::Loaded {
                context: loaded.context,
            },
            (None, NodeKind::Ollama | NodeKind::Engine, _)
            | (None, _, ServerFlavour::LmStudio | ServerFlavour::LlamaServer) => Residency::OnDisk,
            (None, ..) => Residency::Unknown,
        }
    }

    /// Returns who owns a model of this node, as the node itself says it in `/v1/models`; in the way of its server where the
    /// node was not asked: Ollama names the namespace in the model's name, and `library` where there is none.
    pub fn owner_of<'m>(&self, model: &'m ModelView) -> &'m str {
        if let Some(owner) = &model.owned_by {
            return owner;
        }
        match self.server {
            ServerFlavour::Ollama => {
                let mut parts = model.name.rsplit('/');
                parts.next();
                parts.next().unwrap_or("library")
            }
            ServerFlavour::Vllm => "vllm",
            ServerFlavour::LlamaServer => "llamacpp",
            ServerFlavour::LlamaCppPython => "me",
            ServerFlavour::SgLang => "sglang",
            ServerFlavour::LmStudio => "organization_owner",
            ServerFlavour::Embedded => "remuda",
            ServerFlavour::Other => "unknown",
        }
    }

    /// Returns when the node was last heard of.
    pub fn last_seen(&self) -> Option<Timestamp> {
        self.activity.last_seen()
    }
}

/// One model at one node.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelView {
    /// The name as the node writes it, which is how the node wants to be asked.
    pub name: Arc<str>,
    /// The digest of its files, where the node tells: equal digests are equal models.
    pub digest: Option<Arc<str>>,
    /// The size of its files.
    pub size_bytes: Option<u64>,
    /// Family, size and quantisation, as the node writes them.
    pub details: ModelDetails,
    /// The largest context it can have at this node, in tokens.
    pub context_length: Option<u32>,
    /// The length of its embedding vectors.
    pub embedding_length: Option<u32>,
    /// What it can do, in Ollama's words (`completion`, `tools`, `vision`, `embedding`, `thinking`…); empty when unknown.
    pub capabilities: Vec<String>,
    /// When its files changed.
    pub modified_at: Option<Timestamp>,
    /// How it is loaded; `None` when it is not in memory.
    pub loaded: Option<Loaded>,
    /// What the node writes as its `owned_by`, where it tells.
    pub owned_by: Option<Arc<str>>,
    /// The name of its licence, 120 characters at most, where the node tells.
    pub license: Option<Arc<str>>,
    /// What the metadata of its files says of its layers, where the node tells.
    pub shape: Option<Arc<ModelShape>>,
}

impl ModelView {
    /// Makes a model of which only the name is known.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            digest: None,
            size_bytes: None,
            details: ModelDetails::default(),
            context_length: None,
            embedding_length: None,
            capabilities: Vec::new(),
            modified_at: None,
            loaded: None,
            owned_by: None,
            license: None,
            shape: None,
        }
    }

    /// Tells whether the model only makes embeddings.
    pub fn is_embedding_only(&self) -> bool {
        let can = |name: &str| self.capabilities.iter().any(|c| c == name);
        can("embedding") && !can("completion")
    }
}

/// What a model is, in the words that Ollama uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ModelDetails {
    /// The file format, as `gguf`.
    pub format: String,
    /// The architecture family, as `llama`.
    pub family: String,
    /// All families, for models made of several parts.
    #[serde(deserialize_with = "null_as_default")]
    pub families: Vec<String>,
    /// The number of parameters, as `8.0B`.
    pub parameter_size: String,
    /// The quantisation, as `Q4_K_M`.
    pub quantization_level: String,
}

/// Writes a number of parameters the way Ollama does: `8.0B`.
pub fn parameter_size(count: u64) -> String {
    match count as f64 {
        n if n >= 1e9 => format!("{:.1}B", n / 1e9),
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e3 => format!("{:.1}K", n / 1e3),
        _ => count.to_string(),
    }
}

/// Servers write `null` where they mean an empty list.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// How a model is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The context size it was loaded with, in tokens.
    pub context: Option<u32>,
    /// The memory it takes in total, in bytes.
    pub size_bytes: Option<u64>,
    /// The part of it that is GPU memory, in bytes.
    pub vram_bytes: Option<u64>,
    /// When the node unloads it unless it is used.
    pub expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_as_in_model_names() {
        assert_eq!(parameter_size(8_030_000_000), "8.0B");
        assert_eq!(parameter_size(4_210_000), "4.2M");
        assert_eq!(parameter_size(12), "12");
    }
}
