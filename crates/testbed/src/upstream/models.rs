//! The models of an upstream: what it lists, what is loaded, what it lacks.

use serde_json::{Value, json};

use super::ask::{Ask, Route};
use super::body::sleep_for;
use super::flavour::Flavour;
use super::record::Flight;
use super::script::Script;
use super::service::Node;

/// Context length of a loaded model unless a request asks for another.
const DEFAULT_CONTEXT: u64 = 4096;

/// A model that an upstream claims to have.
#[derive(Clone, Debug)]
pub struct ScriptedModel {
    /// The name with its tag.
    pub name: String,
    /// Context length it could be loaded with.
    pub context_length: u64,
    /// What it can do: `completion`, `tools`, `thinking`, `vision`, `embedding`.
    pub capabilities: Vec<String>,
    /// The context length it is loaded with, when it is resident.
    pub loaded: Option<u64>,
    /// Size on disk.
    pub size_bytes: u64,
    /// Hex digest of its content.
    pub digest: String,
    /// Length of its embeddings.
    pub dimensions: usize,
}

impl ScriptedModel {
    /// Returns a model for chat and completion that is not loaded.
    pub fn chat(name: &str) -> Self {
        let digest = fingerprint(name);
        Self {
            name: name.to_owned(),
            context_length: 32_768,
            capabilities: ["completion", "tools", "thinking"]
                .map(str::to_owned)
                .to_vec(),
            loaded: None,
            size_bytes: 1_321_098_329,
            digest,
            dimensions: 16,
        }
    }

    /// Returns a model for embeddings.
    pub fn embedding(name: &str) -> Self {
        Self {
            capabilities: vec!["embedding".to_owned()],
            context_length: 2048,
            ..Self::chat(name)
        }
    }

    /// Returns it as loaded with the default context.
    #[must_use]
    pub fn loaded(self) -> Self {
        Self {
            loaded: Some(DEFAULT_CONTEXT),
            ..self
        }
    }

    /// Returns it with another maximal context.
    #[must_use]
    pub fn context_length(self, tokens: u64) -> Self {
        Self {
            context_length: tokens,
            ..self
        }
    }

    pub(super) fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    /// Returns the `details` object of Ollama's lists.
    pub(super) fn details() -> Value {
        json!({
            "parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
            "parameter_size": "1.2B", "quantization_level": "Q8_0",
        })
    }
}

/// Returns 64 hex digits that depend on the name only.
fn fingerprint(name: &str) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let quarter = |part: u64| {
        let mut hasher = DefaultHasher::new();
        (part, name).hash(&mut hasher);
        hasher.finish()
    };
    format!(
        "{:016x}{:016x}{:016x}{:016x}",
        quarter(0),
        quarter(1),
        quarter(2),
        quarter(3)
    )
}

/// Returns a name with its tag, in lower case.
pub(super) fn normalise(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let last = name.rsplit('/').next().unwrap_or_default();
    if last.contains(':') {
        name
    } else {
        format!("{name}:latest")
    }
}

impl Node {
    /// Returns the model of that name. llama-server answers to any name with its only model.
    pub(super) fn find_model(&self, name: &str) -> Option<ScriptedModel> {
        let models = self.models.lock();
        let found = match self.flavour {
            Flavour::Ollama => models
                .iter()
                .find(|model| normalise(&model.name) == normalise(name)),
            Flavour::LlamaServer => models.first(),
            Flavour::Vllm | Flavour::Other => models.iter().find(|model| model.name == name),
        };
        found.cloned()
    }

    /// Returns status and message when the model is not there or cannot do what is asked.
    pub(super) fn lacks(&self, ask: &Ask) -> Option<(u16, String)> {
        let Some(model) = self.find_model(&ask.model) else {
            return Some((404, self.unknown_model(&ask.model)));
        };
        if self.flavour == Flavour::Ollama && !ask.empty {
            if !model.can("completion") {
                let verb = if ask.route == Route::OllamaGenerate {
                    "generate"
                } else {
                    "chat"
                };
                return Some((400, format!("\"{}\" does not support {verb}", ask.model)));
            }
            if !ask.tools.is_empty() && !model.can("tools") {
                return Some((400, format!("{} does not support tools", ask.model)));
            }
            if ask.thinks && !model.can("thinking") {
                return Some((400, format!("\"{}\" does not support thinking", ask.model)));
            }
        }
        None
    }

    /// Returns the flavour's words for a model it does not know.
    pub(super) fn unknown_model(&self, name: &str) -> String {
        match self.flavour {
            Flavour::Ollama | Flavour::LlamaServer => format!("model '{name}' not found"),
            Flavour::Vllm | Flavour::Other => format!("The model `{name}` does not exist."),
        }
    }

    /// Loads the model when it is not resident with the wanted context, driving others out where there is no room, and
    /// unloads it on request.
    pub(super) async fn use_model(&self, ask: &Ask, script: &Script, flight: &mut Flight) {
        let Some(name) = self.find_model(&ask.model).map(|model| model.name) else {
            return;
        };
        flight.uses(&name);
        let resident = |models: &[ScriptedModel]| {
            let model = models.iter().find(|model| model.name == name)?;
            model
                .loaded
                .filter(|context| ask.num_ctx.is_none_or(|wanted| wanted == *context))
        };
        if resident(&self.models.lock()).is_none() {
            sleep_for(script.load_delay).await;
        }
        let mut models = self.models.lock();
        let context = match resident(&models) {
            Some(context) => context,
            // What is to be unloaded is not loaded first.
            None if ask.empty && ask.keep_alive_zero => DEFAULT_CONTEXT,
            None => {
                self.record.load();
                self.make_room(&mut models, &name, script.room);
                ask.num_ctx.unwrap_or(DEFAULT_CONTEXT)
            }
        };
        if let Some(model) = models.iter_mut().find(|model| model.name == name) {
            model.loaded = (!ask.keep_alive_zero).then_some(context);
        }
    }

    /// Drives models out until one more fits, idle ones first.
    fn make_room(&self, models: &mut [ScriptedModel], newcomer: &str, room: Option<usize>) {
        let Some(room) = room else {
            return;
        };
        loop {
            let mut others: Vec<&mut ScriptedModel> = models
                .iter_mut()
                .filter(|model| model.loaded.is_some() && model.name != newcomer)
                .collect();
            if others.len() < room.max(1) {
                return;
            }
            others.sort_by_key(|model| self.record.is_busy(&model.name));
            if let Some(victim) = others.first_mut() {
                self.record.evicted(&victim.name);
                victim.loaded = None;
            }
        }
    }
}
