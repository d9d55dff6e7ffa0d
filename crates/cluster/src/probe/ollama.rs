//! Learns from an Ollama server: its models, which of them are loaded, and what each can do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, join, stream};
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
    capabilities: Option<Vec<String>>,
}

/// What `/api/show` says about the files with one digest: asked once, as it cannot change.
#[derive(Clone, Debug, Default)]
struct Shown {
    context_length: Option<u32>,
    embedding_length: Option<u32>,
    capabilities: Vec<String>,
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
        }
    }
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
    let (tags, running, told_version) = join!(
        contact.get::<Tags>("/api/tags"),
        contact.get::<Running>("/api/ps"),
        contact.get::<Version>("/api/version"),
    );
    let mut models: Vec<ModelView> = tags?
        .models
        .unwrap_or_default()
        .into_iter()
        .take(2 * MAX_MODELS)
        .map(view)
        .collect();
    let mut loaded = running.map_or_else(|_| HashMap::new(), Running::by_name);
    for model in &mut models {
        model.loaded = loaded.remove(&*model.name);
    }
    let mut models = orderly(models);
    shown.complete(contact, &mut models).await;
    Ok(Learned {
        found,
        version: told_version.ok().and_then(|told| version(&told.version)),
        models,
        slots: None,
        pressure: None,
    })
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
            if !shown.capabilities.is_empty() {
                model.capabilities.clone_from(&shown.capabilities);
            }
        }
    }
}
