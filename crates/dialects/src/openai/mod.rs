//! OpenAI's wire format: chat completions, completions, embeddings and (in `responses`) the Responses API.

mod read_logprobs;
mod read_request;
mod read_response;
pub(crate) mod responses;
mod write_request;
mod write_response;

pub(crate) use read_request::{read_chat, read_completion, read_embed};
pub(crate) use read_response::{
    read_chat_frame, read_completion_frame, read_embeddings, scan_whole,
};
pub(crate) use write_request::{
    write_chat as write_chat_request, write_completion as write_completion_request,
    write_embed as write_embed_request,
};
pub(crate) use write_response::{
    ChatWriter, write_chat, write_completion, write_completion_end, write_completion_event,
    write_embeddings,
};
