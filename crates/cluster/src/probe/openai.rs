//! Learns from a server with the OpenAI API: its models, and what its program tells beyond that API.

use std::collections::HashMap;

use serde::Deserialize;

use super::contact::{Contact, ContactError};
use super::detect::{Found, Version};
use super::learned::{Learned, MAX_MODELS, orderly, version};
use super::vllm::KnownTask;
use super::{llama_server, pressure};
use crate::model::{Loaded, ModelDetails, ModelView, ServerFlavour, parameter_size};

/// The longest text that is taken as a model's owner, in bytes.
const MAX_OWNER: usize = 128;
/// The longest text that is taken as a quantisation, in bytes.
const MAX_QUANTIZATION: usize = 32;
/// Other names of a model that are kept.
const MAX_ALIASES: usize = 16;

/// `GET /v1/models`, with the fields that some servers add.
#[derive(Deserialize)]
pub(super) struct ModelList {
    data: Vec<Entry>,
    /// llama-server lists its models a second time with what they can do.
    #[serde(default)]
    models: Option<Vec<Abilities>>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    owned_by: Option<String>,
    /// vLLM and `SGLang`.
    #[serde(default)]
    max_model_len: Option<u32>,
    /// llama-server.
    #[serde(default)]
    meta: Option<Meta>,
    /// llama-server with several models.
    #[serde(default)]
    status: Option<Status>,
    /// llama-server: all names it answers to.
    #[serde(default)]
    aliases: Vec<String>,
    /// llama-server.
    #[serde(default)]
    architecture: Option<Architecture>,
}

#[derive(Deserialize)]
struct Meta {
    /// What it runs with.
    n_ctx: Option<u32>,
    n_ctx_train: Option<u32>,
    n_embd: Option<u32>,
    n_params: Option<u64>,
    size: Option<u64>,
    ftype: Option<String>,
}

#[derive(Deserialize)]
struct Architecture {
    #[serde(default)]
    input_modalities: Vec<String>,
}

#[derive(Deserialize)]
struct Status {
    value: Option<String>,
}

#[derive(Deserialize)]
struct Abilities {
    #[serde(default)]
    name: String,
    #[serde(default)]
    capabilities: Vec<String>,
}

impl Entry {
    /// Returns the model, and its other names.
    fn view(self, capabilities: Vec<String>) -> (ModelView, Vec<String>) {
        let meta = self.meta.as_ref();
        let running_with = meta.and_then(|meta| meta.n_ctx).filter(|n| *n > 0);
        let loaded = self
            .status
            .and_then(|status| status.value)
            .filter(|value| value == "loaded")
            .map(|_| Loaded {
                context: running_with,
                ..Loaded::default()
            });
        let quantization = meta.and_then(|meta| meta.ftype.clone());
        let mut view = ModelView {
            context_length: self
                .max_model_len
                .or(running_with)
                .or(meta.and_then(|meta| meta.n_ctx_train)),
            embedding_length: meta.and_then(|meta| meta.n_embd),
            size_bytes: meta.and_then(|meta| meta.size),
            details: ModelDetails {
                parameter_size: meta
                    .and_then(|meta| meta.n_params)
                    .map(parameter_size)
                    .unwrap_or_default(),
                quantization_level: quantization
                    .filter(|text| is_plain(text, MAX_QUANTIZATION))
                    .unwrap_or_default(),
                ..ModelDetails::default()
            },
            loaded,
            owned_by: self
                .owned_by
                .filter(|owner| is_plain(owner, MAX_OWNER))
                .map(Into::into),
            ..ModelView::named(self.id)
        };
        for ability in capabilities {
            match ability.as_str() {
                "multimodal" => llama_server::add_ability(&mut view, "vision"),
                _ => view.capabilities.push(ability),
            }
        }
        let inputs = self.architecture.map(|known| known.input_modalities);
        if inputs.is_some_and(|inputs| inputs.iter().any(|input| input == "image")) {
            llama_server::add_ability(&mut view, "vision");
        }
        (view, self.aliases)
    }
}

impl ModelList {
    /// Tells whether it says of each model whether that is in memory.
    fn says_what_is_held(&self) -> bool {
        self.data.iter().any(|entry| entry.status.is_some())
    }

    /// Recognises the program by what it writes as the models' owner.
    pub(super) fn flavour(&self) -> Option<ServerFlavour> {
        match self.data.first()?.owned_by.as_deref()? {
            "vllm" => Some(ServerFlavour::Vllm),
            "llamacpp" => Some(ServerFlavour::LlamaServer),
            "sglang" => Some(ServerFlavour::SgLang),
            "organization_owner" => Some(ServerFlavour::LmStudio),
            "library" => Some(ServerFlavour::Ollama),
            "me" => Some(ServerFlavour::LlamaCppPython),
            _ => None,
        }
    }
}

/// Probes a server with the OpenAI API. Only the list of models must succeed.
pub(super) async fn learn(
    contact: &Contact,
    found: Found,
    task: &mut KnownTask,
) -> Result<Learned, ContactError> {
    let list = contact.get::<ModelList>("/v1/models").await?;
    // Another program may have taken over the address since it was detected.
    let server = list.flavour().unwrap_or(found.server);
    let says_what_is_held = list.says_what_is_held();
    let mut learned = Learned {
        found: Found { server, ..found },
        version: None,
        models: orderly(views(list)),
        slots: None,
        pressure: pressure::ask(contact, server).await,
    };
    match server {
        ServerFlavour::Vllm => {
            learned.version = version_at(contact, "/version").await;
            task.complete(contact, &mut learned.models).await;
            hold_all(&mut learned.models);
        }
        ServerFlavour::SgLang => {
            learned.version = version_at(contact, "/server_info").await;
            hold_all(&mut learned.models);
        }
        ServerFlavour::LlamaCppPython => {
            hold_all(&mut learned.models);
            // It breaks one answer off when it is asked for another (`interrupt_requests`, on unless set otherwise), and makes the
            // other wait where that is off.
            learned.slots = Some(1);
        }
        ServerFlavour::LlamaServer => {
            llama_server::learn(contact, says_what_is_held, &mut learned).await;
        }
        ServerFlavour::LmStudio => learn_lm_studio(contact, &mut learned).await,
        ServerFlavour::Ollama | ServerFlavour::Embedded | ServerFlavour::Other => {}
    }
    Ok(learned)
}

fn views(list: ModelList) -> Vec<ModelView> {
    let mut abilities: HashMap<String, Vec<String>> = list
        .models
        .unwrap_or_default()
        .into_iter()
        .map(|model| (model.name, model.capabilities))
        .collect();
    let (mut views, mut others) = (Vec::new(), Vec::new());
    for entry in list.data.into_iter().take(2 * MAX_MODELS) {
        let capabilities = abilities.remove(&entry.id).unwrap_or_default();
        let (view, aliases) = entry.view(capabilities);
        // Each name is a model: the server answers to all of them.
        others.extend(
            aliases
                .into_iter()
                .take(MAX_ALIASES)
                .map(|alias| ModelView {
                    name: alias.into(),
                    ..view.clone()
                }),
        );
        views.push(view);
    }
    // A model's own name comes before what others are called, too.
    views.append(&mut others);
    views
}

/// Tells whether a text may be repeated to clients.
fn is_plain(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Marks all models as loaded with all of their context: these servers hold what they list.
fn hold_all(models: &mut [ModelView]) {
    for model in models {
        model.loaded = Some(Loaded {
            context: model.context_length,
            ..Loaded::default()
        });
    }
}

async fn version_at(contact: &Contact, path: &str) -> Option<std::sync::Arc<str>> {
    contact
        .get::<Version>(path)
        .await
        .ok()
        .and_then(|told| version(&told.version))
}

#[derive(Deserialize)]
struct LmStudioList {
    data: Vec<LmStudioModel>,
}

#[derive(Deserialize)]
struct LmStudioModel {
    id: String,
    #[serde(default, rename = "type")]
    task: String,
    #[serde(default)]
    arch: String,
    #[serde(default)]
    quantization: String,
    #[serde(default)]
    compatibility_type: String,
    #[serde(default)]
    state: String,
    max_context_length: Option<u32>,
    loaded_context_length: Option<u32>,
}

async fn learn_lm_studio(contact: &Contact, learned: &mut Learned) {
    let Ok(list) = contact.get::<LmStudioList>("/api/v0/models").await else {
        return;
    };
    let mut told: HashMap<String, LmStudioModel> = list
        .data
        .into_iter()
        .map(|model| (model.id.clone(), model))
        .collect();
    for model in &mut learned.models {
        let Some(told) = told.remove(&*model.name) else {
            continue;
        };
        model.context_length = told.max_context_length;
        model.details.family = told.arch;
        model.details.quantization_level = told.quantization;
        model.details.format = told.compatibility_type;
        let capabilities: &[&str] = match told.task.as_str() {
            "llm" => &["completion"],
            "vlm" => &["completion", "vision"],
            "embeddings" => &["embedding"],
            _ => &[],
        };
        model.capabilities = capabilities.iter().map(|c| (*c).to_owned()).collect();
        model.loaded = (told.state == "loaded").then(|| Loaded {
            context: told.loaded_context_length,
            ..Loaded::default()
        });
    }
}
