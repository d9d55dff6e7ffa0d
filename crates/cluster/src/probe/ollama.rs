//! Learns from an Ollama server: its models, which of them are loaded, and what each can do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, join, stream};
use scheduling::placement::ModelShape;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::contact::{Contact, ContactError};
use super::detect::{Found, Version};
use super::learned::{Learned, MAX_MODELS, orderly, time, version};
use crate::model::{Loaded, ModelDetails, ModelView};

/// Models whose details are asked in one probe. The others follow in the next ones.
const SHOWS_PER_PROBE: usize = 64;
/// Details asked at the same time.
const CONCURRENT_SHOWS: usize = 4;

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    models: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(default)]
    name: String,
    #[serde(default)]
    model: String,
    modified_at: Option<String>,
    size: Option<u64>,
    digest: Option<String>,
    details: Option<ModelDetails>,
    capabilities: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Running {
    #[serde(default)]
    models: Option<Vec<RunningModel>>,
}

#[derive(Deserialize)]
struct RunningModel {
    #[serde(default)]
    name: String,
    #[serde(default)]
    model: String,
    size: Option<u64>,
    size_vram: Option<u64>,
    expires_at: Option<String>,
    context_length: Option<u32>,
}

impl Running {
    fn by_name(self) -> HashMap<String, Loaded> {
        let models = self.models.unwrap_or_default().into_iter();
        models
            .map(|model| {
                let loaded = Loaded {
                    context: model.context_length,
                    size_bytes: model.size,
                    vram_bytes: model.size_vram,
                    expires_at: time(model.expires_at.as_deref()),
                };
                let name = if model.name.is_empty() {
                    model.model
                } else {
                    model.name
                };
                (name, loaded)
            })
            .collect()
    }
}

#[derive(Serialize)]
struct ShowRequest<'a> {
    model: &'a str,
}

#[derive(Deserialize)]
struct Show {
    #[serde(default)]
    model_info: Option<Map<String, Value>>,
    #[serde(default)]
    license: Option<String>,
    #[serde(default)]
    capabilities: Option<Vec<String>>,
}

/// What `/api/show` says about the files with one digest: asked once, as it cannot change.
#[derive(Clone, Debug, Default)]
struct Shown {
    context_length: Option<u32>,
    embedding_length: Option<u32>,
    capabilities: Vec<String>,
    license: Option<Arc<str>>,
    shape: Option<Arc<ModelShape>>,
}

impl From<Show> for Shown {
    fn from(show: Show) -> Self {
        let info = show.model_info.unwrap_or_default();
        let number = |suffix: &str| {
            info.iter()
                .find(|(key, _)| key.ends_with(suffix))
                .and_then(|(_, value)| value.as_u64())
                .and_then(|number| u32::try_from(number).ok())
        };
        Self {
            context_length: number(".context_length"),
            embedding_length: number(".embedding_length"),
            capabilities: show.capabilities.unwrap_or_default(),
            license: license(&info, show.license.as_deref()),
            shape: shape(&info).map(Arc::new),
        }
    }
}

/// The longest name of a licence.
const MOST_LICENSE: usize = 120;

/// Names a licence: as the metadata does, or by the first line of its text.
fn license(info: &Map<String, Value>, text: Option<&str>) -> Option<Arc<str>> {
    let told = |key: &str| info.get(key).and_then(Value::as_str);
    let lines = [told("general.license.name"), told("general.license"), text];
    lines.into_iter().flatten().find_map(|text| {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
        let plain = line.chars().filter(|one| !one.is_control());
        Some(plain.take(MOST_LICENSE).collect::<String>().into())
    })
}

/// The most layers whose heads are added up one by one.
const MOST_LAYERS: usize = 10_000;

/// Reads what the metadata says of a model's layers. Keys stand under the architecture's name, and the number of heads may be one for all
/// layers or a list.
fn shape(info: &Map<String, Value>) -> Option<ModelShape> {
    let architecture = info.get("general.architecture")?.as_str()?;
    let value = |key: &str| info.get(&format!("{architecture}.{key}"));
    let number = |key: &str| value(key)?.as_u64().and_then(|n| u32::try_from(n).ok());
    let block_count = number("block_count")?;
    let embedding_length = number("embedding_length")?;
    let heads = number("attention.head_count");
    let kv_heads = match value("attention.head_count_kv") {
        Some(Value::Array(each)) => each
            .iter()
            .take(MOST_LAYERS)
            .filter_map(Value::as_u64)
            .fold(0, u64::saturating_add),
        Some(one) => one.as_u64()?.saturating_mul(block_count.into()),
        None => u64::from(heads?).saturating_mul(block_count.into()),
    };
    let of_head = || {
        heads
            .filter(|heads| *heads > 0)
            .map(|heads| embedding_length / heads)
    };
    Some(ModelShape {
        block_count,
        kv_heads,
        key_length: number("attention.key_length").or_else(of_head)?,
        value_length: number("attention.value_length").or_else(of_head)?,
        embedding_length,
    })
}

/// Details of models by digest.
#[derive(Debug, Default)]
pub(super) struct ShownModels(HashMap<Arc<str>, Shown>);

/// Probes an Ollama server. Only the list of models must succeed.
pub(super) async fn learn(
    contact: &Contact,
    found: Found,
    shown: &mut ShownModels,
) -> Result<Learned, ContactError> {
    let (models, told_version) = join!(
        listed(contact, Silence::Forgiven),
        contact.get::<Version>("/api/version"),
    );
    let mut models = models?;
    shown.complete(contact, &mut models).await;
    Ok(Learned {
        found,
        version: told_version.ok().and_then(|told| version(&told.version)),
        models,
        slots: None,
        pressure: None,
    })
}

/// Lists a server's models as they are at this moment, without what only `/api/show` tells.
pub(crate) async fn list_models(contact: &Contact) -> Result<Vec<ModelView>, ContactError> {
    listed(contact, Silence::Counts).await
}

/// What it means that a server does not tell what it has in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// Nothing is in memory, as far as is known.
    Forgiven,
    /// Nothing is known.
    Counts,
}

async fn listed(contact: &Contact, silence: Silence) -> Result<Vec<ModelView>, ContactError> {
    let (tags, running) = join!(
        contact.get::<Tags>("/api/tags"),
        contact.get::<Running>("/api/ps"),
    );
    let mut models: Vec<ModelView> = tags?
        .models
        .unwrap_or_default()
        .into_iter()
        .take(2 * MAX_MODELS)
        .map(view)
        .filter(|model| !agent_proto::is_copy_name(&model.name))
        .collect();
    let mut loaded = match running {
        Ok(running) => running.by_name(),
        Err(_) if silence == Silence::Forgiven => HashMap::new(),
        Err(error) => return Err(error),
    };
    for model in &mut models {
        model.loaded = loaded.remove(&*model.name);
    }
    Ok(orderly(models))
}

fn view(tag: Tag) -> ModelView {
    let name = if tag.name.is_empty() {
        tag.model
    } else {
        tag.name
    };
    ModelView {
        digest: tag.digest.map(Into::into),
        size_bytes: tag.size,
        details: tag.details.unwrap_or_default(),
        capabilities: tag.capabilities.unwrap_or_default(),
        modified_at: time(tag.modified_at.as_deref()),
        ..ModelView::named(name)
    }
}

impl ShownModels {
    /// Fills in what only `/api/show` tells, and asks for what is not known yet.
    async fn complete(&mut self, contact: &Contact, models: &mut [ModelView]) {
        let present: HashSet<Arc<str>> = models
            .iter()
            .filter_map(|model| model.digest.clone())
            .collect();
        self.0.retain(|digest, _| present.contains(digest));
        let mut wanted: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        for model in models.iter() {
            if let Some(digest) = &model.digest
                && !self.0.contains_key(digest)
                && wanted.len() < SHOWS_PER_PROBE
            {
                wanted
                    .entry(Arc::clone(digest))
                    .or_insert_with(|| Arc::clone(&model.name));
            }
        }
        let mut answers = stream::iter(wanted)
            .map(|(digest, name)| async move {
                let show = contact
                    .post::<_, Show>("/api/show", &ShowRequest { model: &name }, None)
                    .await;
                (digest, show)
            })
            .buffer_unordered(CONCURRENT_SHOWS);
        while let Some((digest, show)) = answers.next().await {
            match show {
                Ok(show) => {
                    self.0.insert(digest, show.into());
                }
                // Trouble that passes is asked again; a refusal would be repeated at every probe.
                Err(error) if error.is_passing() => {}
                Err(error) => {
                    tracing::debug!(node = %contact.url, error = %error, "a model's details cannot be read");
                    self.0.insert(digest, Shown::default());
                }
            }
        }
        for model in models {
            let Some(shown) = model.digest.as_ref().and_then(|digest| self.0.get(digest)) else {
                continue;
            };
            model.context_length = shown.context_length;
            model.embedding_length = shown.embedding_length;
            model.license.clone_from(&shown.license);
            model.shape.clone_from(&shown.shape);
            if !shown.capabilities.is_empty() {
                model.capabilities.clone_from(&shown.capabilities);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_licence_is_named_by_the_metadata_or_the_first_line_of_its_text() {
        let named = |info: Value, text: Option<&str>| license(info.as_object().unwrap(), text);
        let text = Some("\n  Apache License\u{1b}[2J  \nVersion 2.0, January 2004\n");
        assert_eq!(
            named(json!({"general.license": "llama3.2"}), text).as_deref(),
            Some("llama3.2")
        );
        assert_eq!(
            named(json!({"general.license": ["a", "b"]}), text).as_deref(),
            Some("Apache License[2J")
        );
        assert_eq!(named(json!({"general.license": " "}), None), None);
        let long = "x".repeat(1_000_000);
        assert_eq!(
            named(json!({}), Some(&long)).map(|name| name.len()),
            Some(MOST_LICENSE)
        );
    }

    #[test]
    fn the_heads_of_layers_are_added_up_and_lengths_follow_from_the_embedding() {
        let read = |info: Value| shape(info.as_object().unwrap());
        let plain = read(json!({
            "general.architecture": "llama", "llama.block_count": 32, "llama.embedding_length": 4096,
            "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8,
        }));
        let expected = ModelShape {
            block_count: 32,
            kv_heads: 256,
            key_length: 128,
            value_length: 128,
            embedding_length: 4_096,
        };
        assert_eq!(plain, Some(expected));
        let mixed = read(json!({
            "general.architecture": "x", "x.block_count": 3, "x.embedding_length": 64,
            "x.attention.head_count_kv": [4, 0, 2], "x.attention.key_length": 16, "x.attention.value_length": 32,
        }));
        assert_eq!(
            mixed.map(|shape| (shape.kv_heads, shape.value_length)),
            Some((6, 32))
        );
        assert_eq!(read(json!({"general.architecture": "x"})), None);
    }
}
