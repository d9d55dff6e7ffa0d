//! A streamed answer, one JSON value a line.

use bytes::BytesMut;
use serde_json::Value;
use web::outbound::Answer;

use super::error::{ClientError, message_of};

/// The longest line that is read, in bytes.
const LONGEST_LINE: usize = 8 * 1024 * 1024;

/// Reads NDJSON as it arrives. Dropping it cancels the call.
pub(crate) struct Lines {
    answer: Answer,
    server: String,
    buffer: BytesMut,
    ended: bool,
}

impl Lines {
    pub(super) fn new(answer: Answer, server: String) -> Self {
        Self {
            answer,
            server,
            buffer: BytesMut::new(),
            ended: false,
        }
    }

    /// Returns the next value, `None` at the end. A line with an `error` member is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if !line.trim_ascii().is_empty() {
                    return self.read(&line).map(Some);
                }
                continue;
            }
            if self.ended {
                let rest = self.buffer.split();
                return match rest.trim_ascii() {
                    [] => Ok(None),
                    line => self.read(line).map(Some),
                };
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err(self.unexpected("a line is longer than 8 MiB"));
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => self.ended = true,
                Err(error) => return Err(ClientError::from_outbound(&self.server, &error)),
            }
        }
    }

    /// Makes the error for a stream that ended before it said that it was done.
    pub(crate) fn cut(&self) -> ClientError {
        ClientError::Cut {
            server: self.server.clone(),
        }
    }

    fn read(&self, line: &[u8]) -> Result<Value, ClientError> {
        let value: Value = serde_json::from_slice(line)
            .map_err(|_| self.unexpected("a line of the stream is not JSON"))?;
        if value.get("error").is_some() {
            return Err(ClientError::Stream(
                message_of(line).unwrap_or_else(|| value.to_string()),
            ));
        }
        Ok(value)
    }

    fn unexpected(&self, reason: &str) -> ClientError {
        ClientError::Unexpected {
            server: self.server.clone(),
            reason: reason.to_owned(),
        }
    }
}
