//! OpenAI's Responses API, stateless: nothing is kept between calls.

mod read_request;
mod read_response;
mod write_response;

pub(crate) use read_request::read_request;
pub(crate) use read_response::{read_frame, read_whole};
pub(crate) use write_response::{StreamWriter, echo, write_whole};
