//! Server-sent events (WHATWG HTML, 9.2), as the server writes them: each with an id, a name and one line of JSON.

use bytes::BytesMut;
use serde_json::Value;
use web::outbound::Answer;

use super::error::ClientError;

/// The longest event that is read, in bytes.
const LONGEST_EVENT: usize = 128 * 1024 * 1024;

/// Reads events as they arrive. Dropping it ends the call.
pub(crate) struct Events {
    answer: Answer,
    server: String,
    buffer: BytesMut,
}

/// One event.
#[derive(Debug, PartialEq)]
pub(crate) struct Event {
    /// After which a later call goes on.
    pub(crate) id: String,
    /// What happened.
    pub(crate) name: String,
    /// What is told of it.
    pub(crate) data: Value,
}

impl Events {
    pub(super) fn new(answer: Answer, server: String) -> Self {
        Self {
            answer,
            server,
            buffer: BytesMut::new(),
        }
    }

    /// Returns the next event, `None` when the server has ended the answer.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let text = self.buffer.split_to(end + 2);
                if let Some(event) = read(&String::from_utf8_lossy(&text)) {
                    return Ok(Some(event));
                }
            }
            if self.buffer.len() > LONGEST_EVENT {
                return Err(ClientError::Unexpected {
                    server: self.server.clone(),
                    reason: "an event is longer than 128 MiB".to_owned(),
                });
            }
            match self.answer.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                Err(error) => return Err(ClientError::from_outbound(&self.server, &error)),
            }
        }
    }
}

/// Reads an event; comments are none.
fn read(text: &str) -> Option<Event> {
    let field = |name: &str| {
        let mut values = text
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.next().map(str::trim_start)
    };
    Some(Event {
        id: field("id")?.to_owned(),
        name: field("event")?.to_owned(),
        data: serde_json::from_str(field("data")?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_from_comments() {
        assert_eq!(read(": keep-alive\n\n"), None);
        let event = read("event: output\nid: 7\nretry: 1000\ndata: {\"a\":1}\n\n").unwrap();
        assert_eq!((&*event.id, &*event.name), ("7", "output"));
        assert_eq!(event.data["a"], 1);
    }
}
