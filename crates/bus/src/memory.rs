//! One process that shares with nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use primitives::{Clock, MonotonicTime};
use tokio::sync::broadcast;

use crate::error::BusError;
use crate::leases::Leases;
use crate::messages::{BACKLOG, Heard, Listening, Messages};

/// Messages and leases within one process.
#[derive(Debug)]
pub(crate) struct Memory {
    clock: Arc<dyn Clock>,
    messages: broadcast::Sender<Heard>,
    /// Who holds what until when. Names are the program's own, a handful.
    leases: Mutex<HashMap<String, (String, MonotonicTime)>>,
}

impl Memory {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            messages: broadcast::channel(BACKLOG).0,
            leases: Mutex::default(),
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

impl Leases for Memory {
    fn take(
        &self,
        name: &str,
        holder: &str,
        period: Duration,
    ) -> BoxFuture<'_, Result<bool, BusError>> {
        let now = self.clock.monotonic();
        let mut leases = self.leases.lock();
        leases.retain(|_, (_, until)| *until > now);
        let has_it = leases.get(name).is_none_or(|(has, _)| has == holder);
        if has_it {
            leases.insert(name.to_owned(), (holder.to_owned(), now.after(period)));
        }
        Box::pin(ready(Ok(has_it)))
    }

    fn give_back(&self, name: &str, holder: &str) -> BoxFuture<'_, Result<(), BusError>> {
        let mut leases = self.leases.lock();
        if leases.get(name).is_some_and(|(has, _)| has == holder) {
            leases.remove(name);
        }
        Box::pin(ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use primitives::{ManualClock, Timestamp};

    use super::*;

    #[tokio::test]
    async fn a_lease_has_one_holder_until_its_period_is_over() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
        let leases = Memory::new(clock.clone());
        let period = Duration::from_secs(10);
        assert!(leases.take("clean", "one", period).await.unwrap());
        assert!(!leases.take("clean", "other", period).await.unwrap());
        clock.advance(Duration::from_secs(9));
        assert!(leases.take("clean", "one", period).await.unwrap());
        clock.advance(Duration::from_secs(9));
        assert!(!leases.take("clean", "other", period).await.unwrap());
        leases.give_back("clean", "other").await.unwrap();
        assert!(!leases.take("clean", "other", period).await.unwrap());
        leases.give_back("clean", "one").await.unwrap();
        assert!(leases.take("clean", "other", period).await.unwrap());
        clock.advance(period);
        assert!(leases.take("clean", "one", period).await.unwrap());
    }

    #[tokio::test]
    async fn who_is_too_far_behind_hears_of_a_gap() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
        let messages = Memory::new(clock);
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
