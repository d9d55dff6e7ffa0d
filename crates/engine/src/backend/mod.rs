//! What computes generating models: our own decoder on candle, or llama.cpp where it was built in. Everything else in the engine
//! knows only the two traits here.

mod candle;
#[cfg(feature = "llama-cpp")]
mod llama_cpp;
#[cfg(not(feature = "llama-cpp"))]
#[path = "llama_cpp_absent.rs"]
mod llama_cpp;

use serde::Deserialize;

use crate::error::EngineError;
use crate::file::{GgufFile, Refusal, Source};

/// What computes generating models. Embedding models always run on the engine's own encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The engine's own decoder, in pure Rust: always there.
    #[default]
    Candle,
    /// llama.cpp, for programs built with the cargo feature `llama-cpp`. The built-in demo model runs on candle all the same.
    LlamaCpp,
}

impl Backend {
    /// Tells whether this program was built with the backend.
    pub const fn is_built(self) -> bool {
        match self {
            Self::Candle => true,
            Self::LlamaCpp => llama_cpp::BUILT,
        }
    }

    /// Returns the backend that runs a model from this place: llama.cpp reads files only.
    pub(crate) fn for_source(self, source: &Source) -> Self {
        match source {
            Source::Path(_) => self,
            Source::Embedded(_) => Self::Candle,
        }
    }

    /// Checks that the backend can run a file, and describes the model.
    pub(crate) fn inspect(self, file: &GgufFile, source: &Source) -> Result<Shape, Refusal> {
        match self.for_source(source) {
            Self::Candle => candle::inspect(file),
            Self::LlamaCpp => llama_cpp::inspect(file, source),
        }
    }

    /// Reads a model into memory.
    pub(crate) fn load(
        self,
        file: &mut GgufFile,
        source: &Source,
        resources: Resources,
    ) -> Result<Box<dyn TextModel>, Refusal> {
        let backend = self.for_source(source);
        tracing::debug!(?backend, ?resources, threads = resources.threads, "loading");
        match backend {
            Self::Candle => candle::load(file, resources),
            Self::LlamaCpp => llama_cpp::load(file, source, resources),
        }
    }
}

/// What callers are told about a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The longest sequence in tokens that it was made for.
    pub(crate) context: usize,
    /// The width of its hidden states.
    pub(crate) width: usize,
}

/// What a model may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    /// The longest sequence in tokens that will be asked for.
    pub(crate) context: usize,
    /// Compute threads, for backends that can be told.
    pub(crate) threads: usize,
}

/// Tokens that a session is given at once: a cancelled request computes no further than this.
pub(crate) const PROMPT_PIECE: usize = 32;

/// A generating model in memory. Stays on the thread that loaded it.
pub(crate) trait TextModel {
    /// Returns the longest sequence in tokens.
    fn context(&self) -> usize;

    /// Starts an empty sequence.
    fn start(&self) -> Result<Box<dyn Session>, EngineError>;

    /// Returns the mean of the last hidden states of a text's tokens.
    fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, EngineError>;
}

/// What one sequence has read, with the means to read on. At most [`PROMPT_PIECE`] tokens are given at once.
pub(crate) trait Session {
    /// Returns how many tokens have been read.
    fn len(&self) -> usize;

    /// Returns the memory in bytes.
    fn size_bytes(&self) -> usize;

    /// Forgets everything after the first `length` tokens; everything where the model cannot forget a part.
    fn truncate(&mut self, length: usize);

    /// Copies the first `length` tokens into a session of its own.
    fn fork(&self, length: usize) -> Result<Box<dyn Session>, EngineError>;

    /// Reads tokens.
    fn read(&mut self, tokens: &[u32]) -> Result<(), EngineError>;

    /// Reads tokens and scores every token of the vocabulary as the next one.
    fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, EngineError>;
}
