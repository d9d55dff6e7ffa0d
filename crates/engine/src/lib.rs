//! Embedded inference: GGUF language models and embedding models on the CPU, with no other server.
//!
//! [`Engine`] is an async front over compute threads of its own: nothing here computes on the caller's runtime. A model file is checked
//! when the engine starts, read at its first request, and forgotten again after a while without work. Several sequences of one model run
//! at once, each with its own key-value cache; a finished sequence's cache serves the next prompt that begins the same way.
//!
//! It knows no wire format: callers translate. Every queue here is bounded, and dropping a [`Generation`] cancels it within one token.

mod backend;
mod card;
mod catalogue;
mod config;
mod constraint;
mod engine;
mod error;
mod file;
mod generation;
mod loaded;
mod memory;
mod model;
mod request;
mod runner;
mod sampling;
mod stop;
mod template;
mod threads;
mod tokenizer;

pub use backend::Backend;
pub use card::{Capabilities, LoadOutcome, LoadReport, ModelCard};
pub use config::EngineConfig;
pub use constraint::Constraint;
pub use engine::Engine;
pub use error::EngineError;
pub use generation::{
    Alternative, Generation, GenerationEvent, GenerationStats, StopReason, TokenLogprob,
};
pub use memory::give_memory_back;
pub use request::{
    ChatPrompt, ChatTurn, EmbedRequest, Embeddings, GenerateRequest, KeepAlive, Prompt,
    SamplingParams,
};
pub use threads::reserve_compute_threads;
