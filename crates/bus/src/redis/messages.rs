//! Messages through Redis, on a connection of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use redis::RedisResult;
use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::link::{Redis, UNHURRIED, described};
use crate::error::BusError;
use crate::messages::{BACKLOG, Heard, Listening, Messages};

/// How often a silent connection is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Pause before another attempt to connect.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Time for a connection to come up.
const CONNECT: Duration = Duration::from_secs(2);

/// Hands on what is heard.
#[derive(Debug)]
pub(super) struct Radio {
    heard: broadcast::Sender<Heard>,
    /// Odd while messages come; grows with every change.
    continuity: AtomicU64,
}

impl Radio {
    pub(super) fn new() -> Self {
        Self {
            heard: broadcast::channel(BACKLOG).0,
            continuity: AtomicU64::new(0),
        }
    }

    fn turn(&self) {
        self.continuity.fetch_add(1, Ordering::SeqCst);
    }

    fn hand_on(&self, heard: Heard) {
        // Nobody may listen, which is no error.
        drop(self.heard.send(heard));
    }
}

impl Redis {
    /// Listens for ever, connecting again whenever the connection is lost.
    pub(super) async fn keep_listening(self: std::sync::Arc<Self>) {
        loop {
            match timeout(CONNECT, self.tune_in()).await {
                Ok(Ok((sink, stream))) => {
                    self.radio.turn();
                    self.radio.hand_on(Heard::Gap);
                    let reason = self.hear(sink, stream).await;
                    self.radio.turn();
                    tracing::debug!(reason, "messages of other processes do not come");
                }
                Ok(Err(error)) => {
                    tracing::debug!(reason = described(&error), "no messages from Redis");
                }
                Err(_) => tracing::debug!("no messages from Redis: connecting takes too long"),
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    async fn tune_in(&self) -> RedisResult<(PubSubSink, PubSubStream)> {
        let (mut sink, stream) = self.client().get_async_pubsub().await?.split();
        sink.psubscribe(self.name("message", "*")).await?;
        Ok((sink, stream))
    }

    async fn hear(&self, mut sink: PubSubSink, mut stream: PubSubStream) -> String {
        let prefix = self.name("message", "");
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else {
                        return "the connection was lost".to_owned();
                    };
                    let channel = message.get_channel_name();
                    let Some(topic) = channel.strip_prefix(&prefix) else {
                        continue;
                    };
                    let Ok(text) = message.get_payload::<String>() else {
                        continue;
                    };
                    self.radio.hand_on(Heard::Message { topic: topic.to_owned(), text });
                }
                _ = pings.tick() => match timeout(UNHURRIED, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return described(&error),
                    Err(_) => return "no answer to a ping".to_owned(),
                },
            }
        }
    }
}

impl Messages for Redis {
    fn publish(&self, topic: &str, text: String) -> BoxFuture<'_, Result<(), BusError>> {
        let channel = self.name("message", topic);
        Box::pin(
            self.call_unhurried(async move |connection: &mut MultiplexedConnection| {
                let mut command = redis::cmd("PUBLISH");
                command
                    .arg(channel)
                    .arg(text)
                    .query_async::<()>(connection)
                    .await
            }),
        )
    }

    fn listen(&self) -> Listening {
        Listening(self.radio.heard.subscribe())
    }

    fn continuity(&self) -> Option<u64> {
        let number = self.radio.continuity.load(Ordering::SeqCst);
        (number % 2 == 1).then_some(number)
    }
}
