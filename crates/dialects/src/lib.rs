//! The wire formats of Ollama, OpenAI and Anthropic, and the translation between them.

mod anthropic;
mod answer;
mod canonical;
mod catalog;
mod continuation;
mod decoder;
mod encoder;
mod envelope;
mod error;
mod event;
mod frame;
mod head;
mod hints;
mod json;
mod media;
mod name;
mod observer;
mod ollama;
mod openai;
mod operation;
mod passthrough;
mod request;
mod target;
mod wire;

pub use canonical::{
    ChatRequest, CompletionRequest, EmbedInput, EmbedRequest, Encoding, Format, Generation, Message, Part, Request,
    ResidencyChange, Role, Sampling, Think, Tool, ToolCall, ToolChoice,
};
pub use catalog::{
    LoadedEntry, ModelDescription, ModelDetails, ModelEntry, ollama_ps, ollama_show, ollama_tags, ollama_version,
    openai_model, openai_models,
};
pub use continuation::{Continuation, continuation};
pub use decoder::{ResponseDecoder, decode_whole};
pub use encoder::{ResponseEncoder, ResponseMeta, encode_whole, response_id};
pub use envelope::{decode_error, error_response, stream_error};
pub use error::ApiError;
pub use event::{AlternativeLogprob, Event, FinishReason, TokenLogprob, ToolCallDelta, Usage};
pub use frame::{FrameSplitter, FrameTooLarge};
pub use head::{Head, read_head, replace_model};
pub use json::{Fields, Json};
pub use name::ModelName;
pub use observer::{FrameKind, Observed, Observer};
pub use operation::{Dialect, Framing, Operation, Task};
pub use passthrough::{Rewrite, check_passthrough};
pub use primitives::ErrorKind;
pub use request::{decode_request, encode_request};
pub use target::{ServerKind, Target, native_operation};
