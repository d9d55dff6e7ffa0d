//! The embedded engine: its configuration, its face as a node, its models in words.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::{EmbeddedNode, Loaded, ModelDetails, ModelView, Registry, parameter_size};
use engine::{Engine, EngineConfig, ModelCard};
use primitives::Timestamp;
use tokio_util::sync::CancellationToken;

use super::banner::FoundModel;
use crate::config::Config;

/// How often the engine is asked what is in memory.
const LOADING_CHECK: Duration = Duration::from_secs(1);

/// Where model files may lie in the data directory.
const MODELS_DIR: &str = "models";

/// Translates the configuration for the engine.
pub(crate) fn engine_config(config: &Config, data_dir: &Path) -> EngineConfig {
    let section = &config.engine;
    EngineConfig {
        models: section.models.clone(),
        models_dir: Some(
            section
                .models_dir
                .clone()
                .unwrap_or_else(|| data_dir.join(MODELS_DIR)),
        ),
        demo: section.demo,
        backend: section.backend,
        threads: section.threads,
        max_sequences: section.max_sequences,
        max_waiting: section.max_waiting,
        max_context: section.max_context,
        idle_unload: Some(section.idle_unload.0).filter(|idle| !idle.is_zero()),
        ..EngineConfig::default()
    }
}

/// Makes the engine a node of the fleet, with models that were found at `found_at`.
pub(super) fn attach(registry: &Registry, engine: &Engine, found_at: Timestamp) {
    let engine = engine.clone();
    registry.attach_embedded(Arc::new(EmbeddedEngine { engine, found_at }));
}

/// Tells the registry within a second when a model enters or leaves memory, until `stop`.
pub(super) async fn follow_loading(registry: Registry, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOADING_CHECK);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        registry.refresh_embedded();
    }
}

/// Describes a model for people.
pub(super) fn describe(card: &ModelCard) -> FoundModel {
    FoundModel {
        name: card.name.clone(),
        can_chat: card.capabilities.completion,
        description: format!(
            "{} parameters, {}, context {}",
            parameter_size(card.parameter_count),
            card.quantization,
            card.context_length
        ),
    }
}

/// The engine as a node of the fleet.
pub(super) struct EmbeddedEngine {
    engine: Engine,
    /// When the models were found; the registry would take the time of each look.
    found_at: Timestamp,
}

impl EmbeddedNode for EmbeddedEngine {
    fn models(&self) -> Vec<ModelView> {
        self.engine
            .models()
            .into_iter()
            .map(|card| ModelView {
                modified_at: Some(self.found_at),
                ..view(card)
            })
            .collect()
    }
}

fn view(card: ModelCard) -> ModelView {
    let context = u32::try_from(card.context_length).ok();
    let mut capabilities = Vec::new();
    for (can, name) in [
        (card.capabilities.completion, "completion"),
        (card.capabilities.embedding, "embedding"),
    ] {
        if can {
            capabilities.push(name.to_owned());
        }
    }
    ModelView {
        digest: Some(Arc::from(card.digest)),
        size_bytes: Some(card.size_bytes),
        details: ModelDetails {
            format: "gguf".to_owned(),
            families: vec![card.family.clone()],
            family: card.family,
            parameter_size: parameter_size(card.parameter_count),
            quantization_level: card.quantization,
        },
        context_length: context,
        embedding_length: u32::try_from(card.embedding_length).ok(),
        capabilities,
        loaded: card.loaded.then_some(Loaded {
            context,
            size_bytes: Some(card.size_bytes),
            vram_bytes: Some(0),
            expires_at: card.expires_at,
        }),
        ..ModelView::named(card.name)
    }
}
