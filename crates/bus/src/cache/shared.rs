//! The same answers in Redis, and how processes tell each other of changes.
//!
//! Each resource has a number in Redis that grows with every change, and the number is part of the names of its answers there: an
//! answer from before a change is under a name that nobody asks for any more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use redis::Script;
use redis::aio::MultiplexedConnection;

use super::resource::{Resource, Ticket};
use super::{Cache, Place};
use crate::error::BusError;
use crate::messages::Heard;
use crate::redis::Redis;

/// Under which topic changes are told.
const TOPIC: &str = "cache";

static FORGET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local numbers = {}
         for i = 1, #KEYS do
           numbers[i] = redis.call('INCR', KEYS[i])
           redis.call('PUBLISH', ARGV[1], ARGV[i + 1] .. ' ' .. string.format('%.0f', numbers[i]))
         end
         return numbers",
    )
});

impl Cache {
    /// Where an answer is in Redis, if it may be there.
    fn place<'a>(&'a self, resource: &Resource, ticket: &Ticket) -> Option<(&'a Redis, String)> {
        if resource.rules().place != Place::Redis {
            return None;
        }
        let redis = self.bus.redis.as_deref()?;
        let name = format!("{}:{}:{}", ticket.resource(), ticket.shared?, ticket.key());
        Some((redis, redis.name("cache", &name)))
    }

    pub(super) async fn find_shared(
        &self,
        resource: &Resource,
        ticket: &Ticket,
    ) -> Option<(Bytes, Duration)> {
        let (redis, name) = self.place(resource, ticket)?;
        let asked = redis
            .call(async move |connection: &mut MultiplexedConnection| {
                let mut both = redis::pipe();
                both.cmd("GET").arg(&name).cmd("PTTL").arg(&name);
                both.query_async::<(Option<Vec<u8>>, i64)>(connection).await
            })
            .await;
        let (answer, left_ms) = asked.ok()?;
        let left = Duration::from_millis(u64::try_from(left_ms).ok()?);
        Some((answer?.into(), left))
    }

    pub(super) async fn keep_shared(&self, resource: &Resource, ticket: &Ticket, answer: Bytes) {
        let Some((redis, name)) = self.place(resource, ticket) else {
            return;
        };
        let ttl_ms = u64::try_from(resource.rules().ttl.as_millis()).unwrap_or(u64::MAX);
        // What is not kept is made again.
        drop(
            redis
                .call(async move |connection: &mut MultiplexedConnection| {
                    let mut command = redis::cmd("SET");
                    command.arg(name).arg(&*answer).arg("PX").arg(ttl_ms.max(1));
                    command.query_async::<()>(connection).await
                })
                .await,
        );
    }

    pub(super) async fn forget_shared(&self, resources: &[&Resource]) {
        let Some(redis) = &self.bus.redis else {
            return;
        };
        for resource in resources {
            resource.untold.store(true, Ordering::SeqCst);
        }
        if let Err(error) = tell(redis, resources).await {
            tracing::debug!(%error, "a change will be told to other processes when Redis is back");
        }
    }

    /// Hears of changes by others, and catches up after gaps.
    pub(super) async fn follow(self, redis: Arc<Redis>) {
        let mut listening = self.bus.messages().listen();
        let mut up = redis.follow();
        loop {
            tokio::select! {
                heard = listening.next() => match heard {
                    Some(Heard::Message { topic, text }) if topic == TOPIC => self.hear(&text),
                    Some(Heard::Message { .. }) => {}
                    Some(Heard::Gap) => self.catch_up(&redis).await,
                    None => return,
                },
                changed = up.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if *up.borrow_and_update() {
                        self.catch_up(&redis).await;
                    }
                }
            }
        }
    }

    fn hear(&self, text: &str) {
        let Some((name, number)) = text.split_once(' ') else {
            return;
        };
        let (Some(resource), Ok(number)) = (self.resource(name), number.parse::<i64>()) else {
            return;
        };
        let mut known = resource.shared.lock();
        // One's own change was counted when it was made.
        if known.is_none_or(|known| known < number) {
            *known = Some(number);
            resource.forget();
            self.bus.metrics.invalidated(resource.name());
        }
    }

    /// Tells what could not be told, and learns the numbers anew: Redis may have lost them.
    async fn catch_up(&self, redis: &Redis) {
        for resource in &*self.resources {
            *resource.shared.lock() = None;
            resource.forget();
        }
        let untold: Vec<&Resource> = self
            .resources
            .iter()
            .filter(|resource| resource.untold.load(Ordering::SeqCst))
            .collect();
        let outcome = async {
            if !untold.is_empty() {
                tell(redis, &untold).await?;
            }
            learn(redis, &self.resources).await
        };
        if let Err(error) = outcome.await {
            tracing::debug!(%error, "answers of other processes cannot be used yet");
        }
    }
}

/// Tells everybody that resources have changed.
async fn tell(redis: &Redis, resources: &[&Resource]) -> Result<(), BusError> {
    let mut call = FORGET.prepare_invoke();
    call.arg(redis.name("message", TOPIC));
    for resource in resources {
        // Until the answer is there nobody here may use what lies under the old number.
        *resource.shared.lock() = None;
        call.key(redis.name("generation", resource.name()));
        call.arg(resource.name());
    }
    let numbers = redis
        .call_unhurried(async move |connection: &mut MultiplexedConnection| {
            call.invoke_async::<Vec<i64>>(connection).await
        })
        .await?;
    for (resource, number) in resources.iter().zip(numbers) {
        resource.untold.store(false, Ordering::SeqCst);
        raise(resource, number);
    }
    Ok(())
}

async fn learn(redis: &Redis, resources: &[Resource]) -> Result<(), BusError> {
    let mut command = redis::cmd("MGET");
    for resource in resources {
        command.arg(redis.name("generation", resource.name()));
    }
    let numbers = redis
        .call_unhurried(async move |connection: &mut MultiplexedConnection| {
            command.query_async::<Vec<Option<i64>>>(connection).await
        })
        .await?;
    for (resource, number) in resources.iter().zip(numbers) {
        raise(resource, number.unwrap_or(0));
    }
    Ok(())
}

fn raise(resource: &Resource, number: i64) {
    let mut known = resource.shared.lock();
    *known = Some(known.map_or(number, |known| known.max(number)));
}
