//! The wire formats of Ollama, OpenAI and Anthropic, and the translation between any two of them.
//!
//! Pure and synchronous: bytes in, bytes out. No I/O, no clock, no randomness; time and ids are arguments.
//!
//! # How a gateway uses it
//!
//! 1. [`Operation::from_path`], then [`read_head`]: model, stream, size of the answer; the body stays bytes.
//! 2. [`native_operation`] for a node. The same operation: the bytes may pass, after [`check_passthrough`] and with
//!    [`replace_model`] where the node calls the model otherwise. Any other: [`decode_request`], [`Request::set_model`],
//!    [`Request::operation_on`], [`encode_request`].
//! 3. A stream that passes: [`FrameSplitter`], and an [`Observer`] that looks at each frame for accounting. A stream that is
//!    translated: [`ResponseDecoder`] for the node's operation, [`ResponseEncoder`] for the client's, [`Observer::event`] in
//!    between. Whole bodies: [`Observer::whole`], or [`decode_whole`] and [`encode_whole`].
//! 4. A node is lost in mid-stream: [`continuation()`] makes the request for the next one. After frames that passed,
//!    [`ResponseEncoder::resume`] makes the encoder that carries on their response; an encoder that was already writing is
//!    kept and told with [`ResponseEncoder::continued`].
//! 5. Errors: [`ApiError`] everywhere; [`error_response`] before the first byte, [`stream_error`] (or the encoder) after it;
//!    [`decode_error`] for what nodes say.
//!
//! # Invariants
//!
//! - Nothing is dropped silently. What a target cannot express is an `Unsupported` error that names the field; the few
//!   fields that may be lost stand in one table (`hints`) and in the module documents of each dialect's `write_request`.
//! - Schemas, tool parameters and arguments keep their text: key order and number spelling survive ([`Json`]).
//! - Foreign bytes never panic, and every buffer has a bound.
//!
//! # Where to find what
//!
//! Each dialect has four files: `read_request` and `write_response` face its clients, `write_request` and `read_response`
//! its servers. What they have in common is in `canonical` (requests) and `event` (responses). To add a dialect, write the
//! four files and a line in each `match` on [`Operation`]; the compiler finds them.

mod answer;
mod anthropic;
mod canonical;
mod catalog;
mod context;
mod continuation;
mod count;
mod decoder;
mod encoder;
mod envelope;
mod error;
mod event;
mod foreign_faults;
mod frame;
mod head;
mod hints;
mod identical;
mod joining;
mod json;
mod media;
mod name;
mod observer;
mod ollama;
mod openai;
mod operation;
mod passthrough;
mod request;
mod scan;
mod target;
mod template;
mod usage_wish;
mod vector;
mod whole;
mod wire;

pub use canonical::{
    ChatRequest, CompletionRequest, EmbedInput, EmbedRequest, Encoding, Format, Generation,
    KeepAlive, Message, Part, Request, ResidencyChange, Role, Sampling, Think, Tool, ToolCall,
    ToolChoice,
};
pub use catalog::{
    LoadedEntry, ModelDescription, ModelDetails, ModelEntry, ollama_ps, ollama_show, ollama_tags,
    ollama_version, openai_model, openai_models,
};
pub use context::replace_num_ctx;
pub use continuation::{Continuation, continuation, drop_repeated_beginning};
pub use decoder::{ResponseDecoder, decode_whole};
pub use encoder::{ResponseEncoder, ResponseMeta, encode_whole, response_id};
pub use envelope::{CONTEXT_EXCEEDED, decode_error, error_response, stream_error};
pub use error::ApiError;
pub use event::{AlternativeLogprob, Event, FinishReason, TokenLogprob, ToolCallDelta, Usage};
pub use frame::{FrameSplitter, FrameTooLarge};
pub use head::{Head, read_head, replace_model};
pub use identical::identity_key;
pub use joining::{EmbedAnswer, EmbedShare};
pub use json::{Fields, Json};
pub use name::{LONGEST_NAME, ModelName, check_name};
pub use observer::{FrameKind, Observed, Observer};
pub use operation::{Dialect, Framing, Operation, Task};
pub use passthrough::{Rewrite, check_passthrough};
pub use primitives::ErrorKind;
pub use request::{decode_request, encode_request};
pub use target::{ServerKind, Target, native_operation};
pub use usage_wish::ask_for_usage;
pub use vector::Vector;
