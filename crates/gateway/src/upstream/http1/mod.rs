//! HTTP/1.1 towards nodes (RFC 9112), as far as a gateway needs it.
//!
//! A general client hands a body over chunk by chunk through a channel between two tasks. For streams of small chunks that
//! costs more than all the rest of a gateway's work, so the relay reads its connections itself: one read from the socket
//! becomes one piece with the payloads of all chunks that were in it, and a stream that waits holds no buffer.

mod connection;
mod decode;
mod head;

pub(crate) use connection::ExchangeError;
pub(super) use connection::{Connection, Io};
pub(super) use decode::Decoder;
pub(crate) use head::ResponseHead;
pub(super) use head::request_head;
