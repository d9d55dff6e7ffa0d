//! Anthropic's Messages API.

mod read_request;
mod read_response;
mod write_request;
mod write_response;

pub(crate) use read_request::read_request;
pub(crate) use read_response::{read_frame, read_whole};
pub(crate) use write_request::write_chat;
pub(crate) use write_response::{StreamWriter, write_whole};
