//! Learns from a server with the OpenAI API: its models, and what its program tells beyond that API.

use std::collections::HashMap;

use serde::Deserialize;

use super::contact::{Contact, ContactError};
use super::detect::{Found, Version};
use super::learned::{Learned, MAX_MODELS, orderly, version};
use super::pressure;
use crate::model::{Loaded, ModelView, ServerFlavour};

/// The longest text that is taken as a model's owner, in bytes.
const MAX_OWNER: usize = 128;

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
}

#[derive(Deserialize)]
struct Meta {
    n_ctx_train: Option<u32>,
    n_embd: Option<u32>,
    size: Option<u64>,
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

impl ModelList {
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
pub(super) async fn learn(contact: &Contact, found: Found) -> Result<Learned, ContactError> {
    let list = contact.get::<ModelList>("/v1/models").await?;
    // Another program may have taken over the address since it was detected.
    let server = list.flavour().unwrap_or(found.server);
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
            hold_all(&mut learned.models);
        }
        ServerFlavour::SgLang => {
            learned.version = version_at(contact, "/server_info").await;
            hold_all(&mut learned.models);
        }
        ServerFlavour::LlamaCppPython => hold_all(&mut learned.models),
        ServerFlavour::LlamaServer => learn_llama_server(contact, &mut learned).await,
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
    list.data
        .into_iter()
        .take(2 * MAX_MODELS)
        .map(|entry| {
            let meta = entry.meta.as_ref();
            let loaded = entry
                .status
                .and_then(|status| status.value)
                .filter(|value| value == "loaded")
                .map(|_| Loaded::default());
            ModelView {
                capabilities: abilities.remove(&entry.id).unwrap_or_default(),
                context_length: entry
                    .max_model_len
                    .or(meta.and_then(|meta| meta.n_ctx_train)),
                embedding_length: meta.and_then(|meta| meta.n_embd),
                size_bytes: meta.and_then(|meta| meta.size),
                loaded,
                owned_by: entry
                    .owned_by
                    .filter(|owner| is_owner(owner))
                    .map(Into::into),
                ..ModelView::named(entry.id)
            }
        })
        .collect()
}

/// Tells whether a text may be repeated to clients as a model's owner.
fn is_owner(text: &str) -> bool {
    (1..=MAX_OWNER).contains(&text.len()) && !text.chars().any(char::is_control)
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
struct Props {
    #[serde(default)]
    total_slots: Option<u32>,
    #[serde(default)]
    build_info: Option<String>,
    #[serde(default)]
    default_generation_settings: Option<GenerationSettings>,
}

#[derive(Deserialize)]
struct GenerationSettings {
    n_ctx: Option<u32>,
}

async fn learn_llama_server(contact: &Contact, learned: &mut Learned) {
    let Ok(props) = contact.get::<Props>("/props").await else {
        return;
    };
    learned.slots = props.total_slots.filter(|slots| *slots > 0);
    learned.version = props.build_info.as_deref().and_then(version);
    let context = props
        .default_generation_settings
        .and_then(|settings| settings.n_ctx)
        .filter(|context| *context > 0);
    // With one model the server holds it; with several it says which ones it holds.
    let only = learned.models.len() == 1;
    for model in &mut learned.models {
        if only || model.loaded.is_some() {
            model.loaded = Some(Loaded {
                context,
                ..Loaded::default()
            });
            // What was trained is not what fits: the server refuses prompts beyond the context it was started with.
            model.context_length = context.or(model.context_length);
        }
    }
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
