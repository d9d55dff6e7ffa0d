//! Reading OpenAI's chat completions, completions and embeddings, with the extras that vLLM and llama.cpp understand.

mod chat;
mod completion;
mod embeddings;
mod format;
mod generation;
mod message;
#[cfg(test)]
mod tests;
mod tools;

pub(crate) use chat::read_chat;
pub(crate) use completion::read_completion;
pub(crate) use embeddings::read_embed;
pub(crate) use format::{WireSchema, named_format};
pub(crate) use generation::read_shared;
pub(crate) use message::image_part;
pub(crate) use tools::choice_word;
