//! Bodies that list and describe models, in both dialects, from plain descriptions.

use bytes::{Bytes, BytesMut};
use primitives::Timestamp;
use serde::Serialize;

use crate::answer::created_at;
use crate::json::Fields;
use crate::wire;

/// A model as the catalogue routes show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelEntry {
    /// The full name, with its tag.
    pub name: String,
    /// The content digest (hex), empty when unknown.
    pub digest: String,
    /// Size on disk, bytes.
    pub size: u64,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// What it is.
    pub details: ModelDetails,
    /// What it can do: `completion`, `tools`, `vision`, `embedding`, `thinking`, …
    pub capabilities: Vec<String>,
    /// Who made it available; `library` when unknown.
    pub owner: Option<String>,
}

/// What a model is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelDetails {
    /// The model from which it was made.
    pub parent_model: String,
    /// The file format, as `gguf`.
    pub format: String,
    /// The architecture family, as `llama`.
    pub family: String,
    /// Size in words, as `8.0B`.
    pub parameter_size: String,
    /// As `Q4_K_M`.
    pub quantization_level: String,
    /// The longest context, tokens.
    pub context_length: Option<u64>,
    /// The length of its vectors.
    pub embedding_length: Option<u64>,
}

/// A loaded model as `/api/ps` shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadedEntry {
    /// The model.
    pub model: ModelEntry,
    /// When it will be unloaded; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// Bytes in accelerator memory.
    pub size_vram: u64,
    /// The context with which it was loaded, tokens.
    pub context_length: u64,
}

/// A model as `/api/show` describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelDescription {
    /// The model.
    pub model: ModelEntry,
    /// Its licence text.
    pub license: Option<String>,
    /// Its Modelfile.
    pub modelfile: Option<String>,
    /// Its default options, one a line.
    pub parameters: Option<String>,
    /// Its prompt template.
    pub template: Option<String>,
    /// Its system message.
    pub system: Option<String>,
    /// Metadata of the model file.
    pub model_info: Fields,
}

#[derive(Serialize)]
struct Details<'a> {
    parent_model: &'a str,
    format: &'a str,
    family: &'a str,
    families: Vec<&'a str>,
    parameter_size: &'a str,
    quantization_level: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_length: Option<u64>,
}

impl<'a> Details<'a> {
    fn of(details: &'a ModelDetails) -> Self {
        Self {
            parent_model: &details.parent_model,
            format: &details.format,
            family: &details.family,
            families: Some(details.family.as_str())
                .filter(|family| !family.is_empty())
                .into_iter()
                .collect(),
            parameter_size: &details.parameter_size,
            quantization_level: &details.quantization_level,
            context_length: details.context_length,
            embedding_length: details.embedding_length,
        }
    }
}

#[derive(Serialize)]
struct List<T> {
    models: Vec<T>,
}

#[derive(Serialize)]
struct Tag<'a> {
    name: &'a str,
    model: &'a str,
    modified_at: String,
    size: u64,
    digest: &'a str,
    details: Details<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    capabilities: &'a [String],
}

#[derive(Serialize)]
struct Running<'a> {
    name: &'a str,
    model: &'a str,
    size: u64,
    digest: &'a str,
    details: Details<'a>,
    expires_at: String,
    size_vram: u64,
    context_length: u64,
}

#[derive(Serialize)]
struct Show<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modelfile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    details: Details<'a>,
    model_info: &'a Fields,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    capabilities: &'a [String],
    modified_at: String,
}

#[derive(Serialize)]
struct Version<'a> {
    version: &'a str,
}

#[derive(Serialize)]
struct OpenAiList<'a> {
    object: &'static str,
    data: Vec<OpenAiModel<'a>>,
}

#[derive(Serialize)]
struct OpenAiModel<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    owned_by: &'a str,
}

impl<'a> OpenAiModel<'a> {
    fn of(model: &'a ModelEntry) -> Self {
        Self {
            id: &model.name,
            object: "model",
            created: model.modified_at.as_secs(),
            owned_by: model.owner.as_deref().unwrap_or("library"),
        }
    }
}

fn body<T: Serialize>(value: &T) -> Bytes {
    let mut out = BytesMut::with_capacity(512);
    wire::json(&mut out, value);
    out.freeze()
}

/// Writes `GET /api/tags`.
pub fn ollama_tags(models: &[ModelEntry]) -> Bytes {
    let tags = models.iter().map(|model| Tag {
        name: &model.name,
        model: &model.name,
        modified_at: created_at(model.modified_at),
        size: model.size,
        digest: &model.digest,
        details: Details::of(&model.details),
        capabilities: &model.capabilities,
    });
    body(&List {
        models: tags.collect(),
    })
}

/// Writes `GET /api/ps`, longest remaining first.
pub fn ollama_ps(models: &[LoadedEntry]) -> Bytes {
    /// What Ollama shows for a model that is never unloaded lies centuries ahead.
    const NEVER: Timestamp = Timestamp::from_micros(9_214_646_400_000_000);
    let mut by_time: Vec<&LoadedEntry> = models.iter().collect();
    by_time.sort_by_key(|loaded| std::cmp::Reverse(loaded.expires_at.unwrap_or(NEVER)));
    let running = by_time.into_iter().map(|loaded| Running {
        name: &loaded.model.name,
        model: &loaded.model.name,
        size: loaded.model.size,
        digest: &loaded.model.digest,
        details: Details::of(&loaded.model.details),
        expires_at: created_at(loaded.expires_at.unwrap_or(NEVER)),
        size_vram: loaded.size_vram,
        context_length: loaded.context_length,
    });
    body(&List {
        models: running.collect(),
    })
}

/// Writes `POST /api/show`. `model_info` is always there: integrations fail without it.
pub fn ollama_show(description: &ModelDescription) -> Bytes {
    body(&Show {
        license: description.license.as_deref(),
        modelfile: description.modelfile.as_deref(),
        parameters: description.parameters.as_deref(),
        template: description.template.as_deref(),
        system: description.system.as_deref(),
        details: Details::of(&description.model.details),
        model_info: &description.model_info,
        capabilities: &description.model.capabilities,
        modified_at: created_at(description.model.modified_at),
    })
}

/// Writes `GET /api/version`.
pub fn ollama_version(version: &str) -> Bytes {
    body(&Version { version })
}

/// Writes `GET /v1/models`.
pub fn openai_models(models: &[ModelEntry]) -> Bytes {
    let data = models.iter().map(OpenAiModel::of).collect();
    body(&OpenAiList {
        object: "list",
        data,
    })
}

/// Writes `GET /v1/models/{model}`.
pub fn openai_model(model: &ModelEntry) -> Bytes {
    body(&OpenAiModel::of(model))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> ModelEntry {
        ModelEntry {
            name: name.to_owned(),
            digest: "ab".to_owned(),
            size: 7,
            modified_at: Timestamp::from_micros(1_000_000),
            details: ModelDetails {
                family: "llama".to_owned(),
                context_length: Some(8),
                ..ModelDetails::default()
            },
            capabilities: vec!["completion".to_owned()],
            owner: None,
        }
    }

    #[test]
    fn tags_are_exact() {
        assert_eq!(
            ollama_tags(&[model("m:latest")]),
            r#"{"models":[{"name":"m:latest","model":"m:latest","modified_at":"1970-01-01T00:00:01.000000000Z","size":7,"digest":"ab","details":{"parent_model":"","format":"","family":"llama","families":["llama"],"parameter_size":"","quantization_level":"","context_length":8},"capabilities":["completion"]}]}"#
        );
        assert_eq!(ollama_tags(&[]), r#"{"models":[]}"#);
    }

    #[test]
    fn loaded_models_come_longest_remaining_first() {
        let loaded = |name: &str, expires: Option<i64>| LoadedEntry {
            model: model(name),
            expires_at: expires.map(Timestamp::from_micros),
            ..LoadedEntry::default()
        };
        let body = ollama_ps(&[
            loaded("soon", Some(1)),
            loaded("never", None),
            loaded("later", Some(2)),
        ]);
        let text = std::str::from_utf8(&body).unwrap();
        let place = |name: &str| text.find(name).unwrap();
        assert!(place("never") < place("later") && place("later") < place("soon"));
    }

    #[test]
    fn descriptions_always_have_model_info() {
        let body = ollama_show(&ModelDescription {
            model: model("m"),
            ..ModelDescription::default()
        });
        assert!(
            std::str::from_utf8(&body)
                .unwrap()
                .contains(r#""model_info":{}"#)
        );
    }

    #[test]
    fn openai_lists_are_exact() {
        assert_eq!(
            openai_models(&[model("m")]),
            r#"{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"library"}]}"#
        );
        assert_eq!(openai_models(&[]), r#"{"object":"list","data":[]}"#);
        assert_eq!(
            openai_model(&model("m")),
            r#"{"id":"m","object":"model","created":1,"owned_by":"library"}"#
        );
        assert_eq!(ollama_version("0.33.0"), r#"{"version":"0.33.0"}"#);
    }
}
