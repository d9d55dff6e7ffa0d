//! Ollama's wire format: chat, generate, embed and the deprecated embeddings.

mod read_request;
mod read_response;
mod write_request;
mod write_response;

pub(crate) use read_request::{read_chat, read_embed, read_generate, read_option};
pub(crate) use read_response::{read_embeddings, read_frame, scan_whole};
pub(crate) use write_request::{write_chat, write_embed, write_generate};
pub(crate) use write_response::{StreamWriter, write_embeddings, write_whole};
