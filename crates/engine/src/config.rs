//! What the engine is started with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use primitives::{Clock, SystemClock};

use crate::backend::Backend;

/// How the engine starts: which files it serves and how much it may use.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Model files (GGUF) or directories (safetensors embedding models) to serve.
    ///
    /// Weights of GGUF files are mapped, not read: a file must not be changed in place while it is served. Put a new one beside it and
    /// rename it.
    pub models: Vec<PathBuf>,
    /// A directory whose `*.gguf` files are all served. A missing directory counts as empty.
    pub models_dir: Option<PathBuf>,
    /// Whether the built-in model `remuda-demo` is served.
    pub demo: bool,
    /// What computes generating models.
    pub backend: Backend,
    /// Compute threads; `None` means physical cores minus one, at least 1 and at most 8.
    ///
    /// The program passes this to [`crate::reserve_compute_threads`] first thing in `main`: for [`Backend::Candle`] the number is one
    /// for the whole process and cannot be changed once threads run, so [`crate::Engine::start`] looks at it for other backends only.
    pub threads: Option<usize>,
    /// How many sequences one model computes at the same time (at least 1).
    pub max_sequences: usize,
    /// How many further requests one model lets wait before it answers [`crate::EngineError::Busy`].
    pub max_waiting: usize,
    /// The largest context in tokens that any sequence may use; a model's own limit applies as well.
    pub max_context: usize,
    /// After how long without work a model leaves memory. `None` keeps it until [`crate::Engine::unload`].
    pub idle_unload: Option<Duration>,
    /// Where durations and the date in chat templates come from.
    pub clock: Arc<dyn Clock>,
}

impl Default for EngineConfig {
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
            idle_unload: Some(Duration::from_mins(5)),
            clock: Arc::new(SystemClock::new()),
        }
    }
}
