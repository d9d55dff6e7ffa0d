//! `[engine]`: the embedded engine and the models that it loads.

use std::path::PathBuf;

use engine::Backend;
use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;
use super::quantity::Period;

/// The embedded engine.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSection {
    /// Model files to load: GGUF, or a directory with a safetensors embedding model.
    pub models: Vec<PathBuf>,
    /// A directory all of whose model files are loaded. Unset: `models` in the data directory, if it is there.
    pub models_dir: Option<PathBuf>,
    /// Whether the built-in demo model is offered; true unless set.
    pub demo: bool,
    /// What computes generating models: `candle` unless set, or `llama_cpp` in a build with the feature `llama-cpp`.
    pub backend: Backend,
    /// Threads for computing. Unset: one for each core.
    pub threads: Option<usize>,
    /// The most sequences that run at once; 4 unless set.
    pub max_sequences: usize,
    /// The most calls that wait for a sequence; 64 unless set. Further ones are refused as busy.
    pub max_waiting: usize,
    /// The longest context in tokens; 8192 unless set. A model's own limit still holds.
    pub max_context: usize,
    /// After how long without work a model leaves memory; 5 minutes unless set. Zero keeps it.
    pub idle_unload: Period,
}

impl Default for EngineSection {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            models_dir: None,
            demo: true,
            backend: Backend::default(),
            threads: None,
            max_sequences: 4,
            max_waiting: 64,
            max_context: 8192,
            idle_unload: Period::seconds(300),
        }
    }
}

impl EngineSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        if !self.backend.is_built() {
            return Err(at.bad(
                ["engine", "backend"],
                "is not in this build: use candle, or build with `cargo build --release --features llama-cpp` (needs cmake, a C++ compiler and libclang)",
            ));
        }
        if self.threads.is_some_and(|count| count == 0 || count > 1024) {
            return Err(at.bad(["engine", "threads"], "must be 1 to 1024"));
        }
        if self.max_sequences == 0 || self.max_sequences > 256 {
            return Err(at.bad(["engine", "max_sequences"], "must be 1 to 256"));
        }
        if self.max_context < 64 {
            return Err(at.bad(["engine", "max_context"], "must be at least 64 tokens"));
        }
        if let Some(dir) = self.models_dir.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(at.bad(
                ["engine", "models_dir"],
                format!("{} is not a directory", dir.display()),
            ));
        }
        Ok(())
    }
}
