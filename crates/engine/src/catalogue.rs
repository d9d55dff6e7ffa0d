//! Finds the configured model files and decides which of them are served. Reads headers only.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::card::{Capabilities, LoadOutcome, LoadReport, ModelCard};
use crate::config::EngineConfig;
use crate::file::{GgufFile, Refusal, Source};
use crate::loaded::ENCODER;
use crate::model::encoder_spec::EncoderSpec;
use crate::template::Template;
use crate::tokenizer::Tokenizer;

/// The name of the built-in model.
pub(crate) const DEMO_NAME: &str = "remuda-demo";
static DEMO: &[u8] = &Aligned(*include_bytes!("../demo/remuda-demo.gguf")).0;

/// Puts the built-in file where blocks of weights can be read as they are.
#[repr(align(32))]
struct Aligned<T>(T);

/// The most files of a models directory that are looked at.
const MOST_FILES: usize = 1024;

/// The served models by name, with where each is.
pub(crate) type Catalogue = BTreeMap<String, (ModelCard, Source)>;

/// Brings a model's name into the form in which names are compared: lower case, without `:latest`.
pub(crate) fn normalised_name(name: &str) -> String {
    let name = name.trim().to_lowercase();
    name.strip_suffix(":latest")
        .map(str::to_owned)
        .unwrap_or(name)
}

/// Inspects everything that is configured.
pub(crate) fn inspect_all(config: &EngineConfig) -> (Catalogue, Vec<LoadReport>) {
    let mut catalogue = Catalogue::new();
    let mut reports = Vec::new();
    let mut add = |name: String, path: Option<PathBuf>, source: Source| {
        let card = if catalogue.contains_key(&name) {
            Err(Refusal(format!(
                "another model is already named '{name}': rename the file"
            )))
        } else {
            inspect(&name, path.clone(), &source, config)
        };
        let outcome = match card {
            Ok(card) => {
                catalogue.insert(name.clone(), (card, source));
                LoadOutcome::Loaded
            }
            Err(Refusal(reason)) => {
                tracing::warn!(model = name, %reason, "model refused");
                LoadOutcome::Refused(reason)
            }
        };
        reports.push(LoadReport {
            name,
            path,
            outcome,
        });
    };
    if config.demo {
        add(DEMO_NAME.to_owned(), None, Source::Embedded(DEMO));
    }
    for path in &config.models {
        add(
            file_name(path),
            Some(path.clone()),
            Source::Path(path.clone()),
        );
    }
    if let Some(directory) = &config.models_dir {
        match list_files(directory) {
            Ok(paths) => {
                for path in paths
                    .into_iter()
                    .filter(|path| !config.models.contains(path))
                {
                    add(file_name(&path), Some(path.clone()), Source::Path(path));
                }
            }
            Err(error) => reports.push(LoadReport {
                name: directory.display().to_string(),
                path: Some(directory.clone()),
                outcome: LoadOutcome::Refused(format!("cannot read the models directory: {error}")),
            }),
        }
    }
    (catalogue, reports)
}

fn file_name(path: &Path) -> String {
    let is_file = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    let name = if is_file {
        path.file_stem()
    } else {
        path.file_name()
    };
    normalised_name(&name.map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy()))
}

fn list_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .filter(|path| {
            let is_model = |path: &PathBuf| {
                path.extension()
                    .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
            };
            path.as_ref().map_or(true, is_model)
        })
        .take(MOST_FILES)
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    Ok(paths)
}

fn inspect(
    name: &str,
    path: Option<PathBuf>,
    source: &Source,
    config: &EngineConfig,
) -> Result<ModelCard, Refusal> {
    match &path {
        Some(directory) if directory.is_dir() => inspect_directory(name, directory, config),
        _ => inspect_file(name, path, source, config),
    }
}

fn inspect_file(
    name: &str,
    path: Option<PathBuf>,
    source: &Source,
    config: &EngineConfig,
) -> Result<ModelCard, Refusal> {
    let mut file = GgufFile::open(source)?;
    let family = file.metadata.text("general.architecture")?.to_owned();
    let chat_template = file
        .metadata
        .find_text("tokenizer.chat_template")
        .map(str::to_owned);
    let (context, width, capabilities) = if family == ENCODER {
        let spec = EncoderSpec::read(&file)?;
        (
            spec.context,
            spec.width,
            Capabilities {
                completion: false,
                embedding: true,
            },
        )
    } else {
        let shape = config.backend.inspect(&file, source)?;
        Template::parse(chat_template.as_deref(), "", "", config.clock.clone())?;
        (
            shape.context,
            shape.width,
            Capabilities {
                completion: true,
                embedding: false,
            },
        )
    };
    Tokenizer::check(&file.metadata)?;
    Ok(ModelCard {
        name: name.to_owned(),
        digest: file.digest()?,
        size_bytes: file.size_bytes,
        family,
        parameter_count: file.parameter_count(),
        quantization: file.quantization(),
        context_length: context.min(config.max_context),
        embedding_length: width,
        capabilities,
        chat_template,
        loaded: false,
        expires_at: None,
        path,
    })
}

fn inspect_directory(
    name: &str,
    directory: &Path,
    config: &EngineConfig,
) -> Result<ModelCard, Refusal> {
    let spec = EncoderSpec::read_directory(directory)?;
    Tokenizer::from_directory(directory)?;
    let weights = directory.join("model.safetensors");
    let size_bytes = std::fs::metadata(&weights)
        .map_err(|error| Refusal(format!("cannot read model.safetensors: {error}")))?
        .len();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&size_bytes.to_le_bytes());
    let config_text =
        std::fs::read(directory.join("config.json")).map_err(|error| Refusal(error.to_string()))?;
    hasher.update(&config_text);
    Ok(ModelCard {
        name: name.to_owned(),
        digest: hasher.finalize().to_hex().to_string(),
        size_bytes,
        family: ENCODER.to_owned(),
        parameter_count: size_bytes / 4,
        quantization: "F32".to_owned(),
        context_length: spec.context.min(config.max_context),
        embedding_length: spec.width,
        capabilities: Capabilities {
            completion: false,
            embedding: true,
        },
        chat_template: None,
        loaded: false,
        expires_at: None,
        path: Some(directory.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_default_tag() {
        assert_eq!(normalised_name(" Remuda-Demo:latest"), "remuda-demo");
        assert_eq!(normalised_name("a:7b"), "a:7b");
        assert_eq!(
            file_name(Path::new("/models/Qwen3-0.6B-Q8_0.GGUF")),
            "qwen3-0.6b-q8_0"
        );
        assert_eq!(
            file_name(Path::new("/models/all-MiniLM-L6-v2")),
            "all-minilm-l6-v2"
        );
    }
}
