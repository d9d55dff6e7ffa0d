//! Answers that are kept for a while: in memory, where wanted also in Redis, and forgotten everywhere when what they tell changes.
//!
//! A kept answer is good as long as nothing of its resource was changed, by this process or by one whose messages come, and, where its
//! rules say so, no longer than its time. While messages of other processes may be missed nothing is answered from here.

mod resource;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::Bus;
use resource::Resource;

pub use resource::Ticket;

/// The largest answer that is kept.
pub const LARGEST: usize = 256 << 10;

/// What has answers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Time alone: when there is no room, further ones are not kept.
    Time,
    /// Room alone: the least used go, however old or new.
    Size,
    /// Both.
    Both,
}

/// Where answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this process.
    Memory,
    /// In this process and in Redis, where other processes find them.
    Redis,
}

/// How answers of a resource are kept.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long they are good; in Redis always, in memory where the strategy knows time.
    pub ttl: Duration,
    /// The memory they may take, in bytes.
    pub max_bytes: u64,
    /// What has them go.
    pub strategy: Strategy,
    /// Where they are kept.
    pub place: Place,
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// A kept answer.
    Hit(Bytes),
    /// None: here is the right to keep the one that is made now.
    Miss(Ticket),
    /// The resource is not kept, or nothing is now.
    Off,
}

/// Kept answers. Clones share everything.
#[derive(Clone, Debug)]
pub struct Cache {
    resources: Arc<[Resource]>,
    bus: Bus,
}

impl Cache {
    /// Makes one for these resources, and follows changes by others on the caller's runtime until `stop`.
    pub fn start(
        bus: &Bus,
        resources: impl IntoIterator<Item = (&'static str, Rules)>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let made = resources
            .into_iter()
            .map(|(name, rules)| Resource::new(name, rules));
        let cache = Self {
            resources: made.collect(),
            bus: bus.clone(),
        };
        if let Some(redis) = &bus.redis {
            let (following, stop) = (cache.clone().follow(redis.clone()), stop.clone());
            tasks.spawn(async move {
                stop.run_until_cancelled(following).await;
            });
        }
        cache
    }

    fn resource(&self, name: &str) -> Option<&Resource> {
        self.resources
            .iter()
            .find(|resource| resource.name() == name)
    }

    /// Looks for an answer. The key says everything that it depends on: what was asked, by whom, with which rights.
    pub async fn find(&self, resource: &str, key: &str) -> Found {
        let (Some(resource), Some(continuity)) =
            (self.resource(resource), self.bus.messages().continuity())
        else {
            return Found::Off;
        };
        let metrics = &self.bus.metrics;
        let now = self.bus.clock.monotonic();
        if let Some(kept) = resource.find(key, continuity, now) {
            metrics.looked_up(resource.name(), "hit");
            return Found::Hit(kept);
        }
        // Taken before anything is read: what changes from now on makes it void.
        let ticket = resource.ticket(key, continuity);
        if let Some((kept, left)) = self.find_shared(resource, &ticket).await {
            metrics.looked_up(resource.name(), "shared_hit");
            resource.keep(&ticket, kept.clone(), left, now);
            return Found::Hit(kept);
        }
        metrics.looked_up(resource.name(), "miss");
        Found::Miss(ticket)
    }

    /// Keeps an answer, unless something has changed since it was looked for.
    pub async fn keep(&self, ticket: Ticket, answer: Bytes) {
        let Some(resource) = self.resource(ticket.resource()) else {
            return;
        };
        if answer.len() > LARGEST || self.bus.messages().continuity() != Some(ticket.continuity()) {
            return;
        }
        let (ttl, now) = (resource.rules().ttl, self.bus.clock.monotonic());
        if resource.keep(&ticket, answer.clone(), ttl, now) {
            self.bus.metrics.holds(resource.name(), resource.bytes());
            self.keep_shared(resource, &ticket, answer).await;
        }
    }

    /// Forgets all answers of these resources, here before this returns, elsewhere milliseconds later. To be called after a change is
    /// committed and before anybody is told of it.
    pub async fn forget(&self, names: &[&str]) {
        let resources: Vec<&Resource> = names
            .iter()
            .filter_map(|name| self.resource(name))
            .collect();
        for resource in &resources {
            resource.forget();
            self.bus.metrics.invalidated(resource.name());
            self.bus.metrics.holds(resource.name(), resource.bytes());
        }
        self.forget_shared(&resources).await;
    }
}

#[cfg(test)]
mod tests;
