//! One process that shares with nobody.

use futures_util::future::{BoxFuture, ready};
use tokio::sync::broadcast;

use crate::error::BusError;
use crate::messages::{BACKLOG, Heard, Listening, Messages};

/// Messages within one process.
#[derive(Debug)]
pub(crate) struct Memory {
    messages: broadcast::Sender<Heard>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            messages: broadcast::channel(BACKLOG).0,
        }
    }
}

impl Messages for Memory {
    fn publish(&self, topic: &str, text: String) -> BoxFuture<'_, Result<(), BusError>> {
        let topic = topic.to_owned();
        // Nobody may listen, which is no error.
        drop(self.messages.send(Heard::Message { topic, text }));
        Box::pin(ready(Ok(())))
    }

    fn listen(&self) -> Listening {
        Listening(self.messages.subscribe())
    }

    fn continuity(&self) -> Option<u64> {
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_too_far_behind_hears_of_a_gap() {
        let messages = Memory::new();
        let mut listening = messages.listen();
        for number in 0..=BACKLOG {
            messages.publish("cache", number.to_string()).await.unwrap();
        }
        assert_eq!(listening.next().await, Some(Heard::Gap));
        let second = Heard::Message {
            topic: "cache".to_owned(),
            text: "1".to_owned(),
        };
        assert_eq!(listening.next().await, Some(second));
    }
}
