//! What the engine tells about its models.

use std::path::PathBuf;

use primitives::Timestamp;

/// A served model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCard {
    /// The name that requests use: the file's stem in lower case.
    pub name: String,
    /// BLAKE3 over the size, the header and samples of the weights, 64 hexadecimal digits. Equal files have equal digests.
    pub digest: String,
    /// Size of the file, or of all files of a directory model.
    pub size_bytes: u64,
    /// The architecture, such as `llama` or `qwen3`.
    pub family: String,
    /// How many weights it has.
    pub parameter_count: u64,
    /// The quantisation of most weights, such as `Q4_K`.
    pub quantization: String,
    /// The context in tokens that requests may use.
    pub context_length: usize,
    /// The width of hidden states and embedding vectors.
    pub embedding_length: usize,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The chat template of the file, if it has one.
    pub chat_template: Option<String>,
    /// Whether its weights are in memory now.
    pub loaded: bool,
    /// When it leaves memory if nobody uses it; `None` when it is not there, or stays.
    pub expires_at: Option<Timestamp>,
    /// Where the file is; `None` for the built-in model.
    pub path: Option<PathBuf>,
}

/// What a model can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Generates text.
    pub completion: bool,
    /// Embeds text.
    pub embedding: bool,
}

/// What became of one configured model at start.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadReport {
    /// The model's name, or the path when the file was refused before it had one.
    pub name: String,
    /// Where the file is; `None` for the built-in model.
    pub path: Option<PathBuf>,
    /// The result.
    pub outcome: LoadOutcome,
}

/// Whether a model is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadOutcome {
    /// The file is sound; its weights are read at the first request.
    Loaded,
    /// The file is not served, for this reason.
    Refused(String),
}
