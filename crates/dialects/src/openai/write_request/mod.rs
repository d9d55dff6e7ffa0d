//! Writing requests for servers that speak OpenAI's dialect, each with the extras it knows.
//!
//! Lost on the way: `keep_alive` and load-time options (they steer routing), and the thinking of earlier turns on servers
//! of unknown kind (chat templates strip it anyway).

mod chat;
mod completion;
mod embeddings;
mod generation;
mod message;
mod tools;

pub(crate) use chat::write_chat;
pub(crate) use completion::write_completion;
pub(crate) use embeddings::write_embed;
