//! All channels, and which one a topic means for whom.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use primitives::{OrgId, RequestId, Timestamp};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::channel::Channel;
use crate::config::HubConfig;
use crate::history::{Bounds, Position};
use crate::standing::{CallerId, Owner, Standing};
use crate::topic::Topic;

/// The most channels of inferences.
const MAX_CHANNELS: usize = 20_000;
/// How long a channel is kept in which nothing happens and to which nobody listens.
const KEPT: Duration = Duration::from_mins(5);
/// How much the channel of one inference keeps.
const ONE_INFERENCE: Bounds = Bounds {
    messages: 256,
    bytes: 64 << 10,
};

/// A channel by what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    NodeStatus,
    ModelUpdate,
    SystemMetrics,
    Heartbeat,
    OfCaller(OrgId, CallerId),
    OfOrganisation(OrgId),
    One(RequestId),
}

/// Why a topic cannot be listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// For administrators of the platform.
    NotPlatformAdmin,
    /// Not there, or another's: which of both is nobody's business.
    Unknown,
    /// There are too many channels already.
    TooMany,
}

impl Refusal {
    pub(crate) fn message(self, topic: Topic) -> String {
        match self {
            Self::NotPlatformAdmin => {
                format!("{topic} is for administrators of the platform: ask one of them")
            }
            Self::Unknown => format!(
                "there is no {topic}, or it is not yours: take the id from the answer to your request, and connect while it runs or soon after"
            ),
            Self::TooMany => format!("{topic} cannot be followed now: try again in a minute"),
        }
    }
}

/// All channels.
#[derive(Debug)]
pub(crate) struct Channels {
    by_key: Mutex<HashMap<Key, Arc<Channel>>>,
    bounds: Bounds,
    total: isize,
    /// The bytes of all histories.
    held: AtomicIsize,
    epochs: AtomicU64,
}

impl Channels {
    /// Makes the channels that are always there. `seed` tells their histories from those of another start.
    pub(crate) fn new(config: &HubConfig, seed: u64, now: Timestamp) -> Self {
        let channels = Self {
            by_key: Mutex::default(),
            bounds: Bounds {
                messages: config.history_messages,
                bytes: config.history_bytes,
            },
            total: isize::try_from(config.history_total_bytes).unwrap_or(isize::MAX),
            held: AtomicIsize::new(0),
            epochs: AtomicU64::new(seed),
        };
        let always = [
            (Key::NodeStatus, Topic::NodeStatus),
            (Key::ModelUpdate, Topic::ModelUpdate),
            (Key::SystemMetrics, Topic::SystemMetrics),
            (Key::Heartbeat, Topic::Heartbeat),
        ];
        for (key, topic) in always {
            let channel = Channel::new(topic, None, channels.next_epoch(), now);
            channels.by_key.lock().insert(key, Arc::new(channel));
        }
        channels
    }

    /// An odd step visits every number before the first comes again.
    fn next_epoch(&self) -> u64 {
        self.epochs
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }

    /// Returns the channel that a topic means for a caller.
    pub(crate) fn find(
        &self,
        topic: Topic,
        who: Standing,
        now: Timestamp,
    ) -> Result<Arc<Channel>, Refusal> {
        let platform = |key| {
            if who.sees_platform() {
                Ok(key)
            } else {
                Err(Refusal::NotPlatformAdmin)
            }
        };
        let key = match topic {
            Topic::NodeStatus => platform(Key::NodeStatus)?,
            Topic::ModelUpdate => platform(Key::ModelUpdate)?,
            Topic::SystemMetrics => platform(Key::SystemMetrics)?,
            Topic::Heartbeat => Key::Heartbeat,
            Topic::Inference if who.sees_organisation() => Key::OfOrganisation(who.org),
            Topic::Inference => Key::OfCaller(who.org, who.caller),
            Topic::OneInference(id) => {
                let channel = self.by_key.lock().get(&Key::One(id)).cloned();
                return channel
                    .filter(|channel| channel.owner.is_some_and(|owner| who.may_follow(owner)))
                    .ok_or(Refusal::Unknown);
            }
        };
        self.open(key, topic, None, now).ok_or(Refusal::TooMany)
    }

    /// Returns a channel, made at first use; `None` when there are too many.
    fn open(
        &self,
        key: Key,
        topic: Topic,
        owner: Option<Owner>,
        now: Timestamp,
    ) -> Option<Arc<Channel>> {
        let mut by_key = self.by_key.lock();
        if let Some(channel) = by_key.get(&key) {
            return Some(Arc::clone(channel));
        }
        if by_key.len() >= MAX_CHANNELS {
            return None;
        }
        let channel = Arc::new(Channel::new(topic, owner, self.next_epoch(), now));
        by_key.insert(key, Arc::clone(&channel));
        Some(channel)
    }

    /// Returns how many listen to a topic that is one channel.
    pub(crate) fn listeners(&self, topic: Topic) -> usize {
        let key = match topic {
            Topic::NodeStatus => Key::NodeStatus,
            Topic::ModelUpdate => Key::ModelUpdate,
            Topic::SystemMetrics => Key::SystemMetrics,
            Topic::Heartbeat => Key::Heartbeat,
            Topic::Inference | Topic::OneInference(_) => return 0,
        };
        let channel = self.by_key.lock().get(&key).cloned();
        channel.map_or(0, |channel| channel.listeners())
    }

    /// Publishes a message of a topic that is one channel.
    pub(crate) fn publish(
        &self,
        topic: Topic,
        now: Timestamp,
        encode: impl FnOnce(Position) -> Utf8Bytes,
    ) {
        let key = match topic {
            Topic::NodeStatus => Key::NodeStatus,
            Topic::ModelUpdate => Key::ModelUpdate,
            Topic::SystemMetrics => Key::SystemMetrics,
            Topic::Heartbeat => Key::Heartbeat,
            Topic::Inference | Topic::OneInference(_) => return,
        };
        let channel = self.by_key.lock().get(&key).cloned();
        if let Some(channel) = channel {
            self.append(&channel, self.bounds, now, encode);
        }
    }

    /// Publishes a message about one inference to who follows it; the first one makes it known. Returns whether there was room.
    pub(crate) fn publish_inference(
        &self,
        id: RequestId,
        owner: Owner,
        now: Timestamp,
        encode: impl FnOnce(Topic, Position) -> Utf8Bytes,
    ) -> bool {
        let topic = Topic::OneInference(id);
        let Some(channel) = self.open(Key::One(id), topic, Some(owner), now) else {
            return false;
        };
        self.append(&channel, ONE_INFERENCE, now, |position| {
            encode(topic, position)
        });
        true
    }

    /// Publishes a message about an inference to its owner and to the organisation's administrators, where they have listened lately:
    /// nobody else has a position to go on from.
    pub(crate) fn publish_to_owner(
        &self,
        owner: Owner,
        now: Timestamp,
        encode: impl Fn(Topic, Position) -> Utf8Bytes,
    ) {
        let keys = [
            owner.caller.map(|caller| Key::OfCaller(owner.org, caller)),
            Some(Key::OfOrganisation(owner.org)),
        ];
        let open = keys.map(|key| self.by_key.lock().get(&key?).cloned());
        for channel in open.iter().flatten() {
            self.append(channel, self.bounds, now, |position| {
                encode(Topic::Inference, position)
            });
        }
    }

    fn append(
        &self,
        channel: &Channel,
        bounds: Bounds,
        now: Timestamp,
        encode: impl FnOnce(Position) -> Utf8Bytes,
    ) {
        let bounds = if self.held.load(Ordering::Relaxed) > self.total {
            Bounds {
                messages: 1,
                ..bounds
            }
        } else {
            bounds
        };
        let grown = channel.publish(now, bounds, encode);
        self.held.fetch_add(grown, Ordering::Relaxed);
    }

    /// Lets go of channels of inferences in which nothing happened for a while and to which nobody listens.
    pub(crate) fn sweep(&self, now: Timestamp) {
        let before = now.before(KEPT);
        self.by_key.lock().retain(|key, channel| {
            if !matches!(
                key,
                Key::OfCaller(..) | Key::OfOrganisation(_) | Key::One(_)
            ) {
                return true;
            }
            // Somebody who has just found it has not begun to listen yet.
            if Arc::strong_count(channel) > 1 {
                return true;
            }
            match channel.idle_since() {
                Some((touched, bytes)) if touched < before => {
                    let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
                    self.held.fetch_sub(bytes, Ordering::Relaxed);
                    false
                }
                _ => true,
            }
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.lock().len()
    }

    pub(crate) fn held_bytes(&self) -> usize {
        usize::try_from(self.held.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::{DEFAULT_ORG, Role};
    use primitives::UserId;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn standing(role: Role, org: OrgId) -> Standing {
        Standing {
            caller: CallerId::User(UserId::generate(NOW)),
            org,
            role,
            platform: role == Role::Admin && org == DEFAULT_ORG,
        }
    }

    fn owned_by(who: Standing) -> Owner {
        Owner {
            org: who.org,
            caller: Some(who.caller),
        }
    }

    fn channels() -> Channels {
        Channels::new(&HubConfig::default(), 1, NOW)
    }

    fn published(channels: &Channels, owner: Owner) -> Topic {
        let id = RequestId::generate(NOW);
        let encode = |_, position: Position| position.to_string().into();
        assert!(channels.publish_inference(id, owner, NOW, encode));
        channels.publish_to_owner(owner, NOW, encode);
        Topic::OneInference(id)
    }

    #[test]
    fn an_inference_is_seen_by_its_owner_and_the_organisations_administrator_only() {
        let channels = channels();
        let lab = OrgId::generate(NOW);
        let (owner, colleague) = (standing(Role::User, lab), standing(Role::Operator, lab));
        let (boss, foreign) = (
            standing(Role::Admin, lab),
            standing(Role::Admin, OrgId::generate(NOW)),
        );
        for who in [owner, colleague, boss, foreign] {
            channels.find(Topic::Inference, who, NOW).unwrap();
        }
        let topic = published(&channels, owned_by(owner));
        let find = |who| channels.find(topic, who, NOW).map(|_| ());
        assert_eq!(find(owner), Ok(()));
        assert_eq!(find(boss), Ok(()));
        assert_eq!(find(colleague), Err(Refusal::Unknown));
        assert_eq!(find(foreign), Err(Refusal::Unknown));
        assert_eq!(
            find(standing(Role::Admin, DEFAULT_ORG)),
            Err(Refusal::Unknown)
        );
        let end = |who| channels.find(Topic::Inference, who, NOW).unwrap().after(0);
        let heard = |who| end(who) != crate::history::Next::Nothing;
        assert!(heard(owner) && heard(boss));
        assert!(!heard(colleague) && !heard(foreign));
    }

    #[test]
    fn the_platforms_topics_are_for_its_administrators() {
        let channels = channels();
        for topic in [Topic::NodeStatus, Topic::ModelUpdate, Topic::SystemMetrics] {
            let find = |who| channels.find(topic, who, NOW).map(|_| ());
            assert_eq!(find(standing(Role::Admin, DEFAULT_ORG)), Ok(()));
            for role in [Role::Operator, Role::User, Role::Viewer] {
                assert_eq!(
                    find(standing(role, DEFAULT_ORG)),
                    Err(Refusal::NotPlatformAdmin)
                );
            }
            let other = standing(Role::Admin, OrgId::generate(NOW));
            assert_eq!(find(other), Err(Refusal::NotPlatformAdmin));
        }
    }

    #[test]
    fn idle_channels_are_let_go_and_their_bytes_with_them() {
        let channels = channels();
        let who = standing(Role::User, OrgId::generate(NOW));
        let topic = published(&channels, owned_by(who));
        assert!(channels.held_bytes() > 0);
        let later = NOW.after(KEPT + Duration::from_secs(1));
        channels.sweep(NOW);
        let followed = channels.find(topic, who, NOW).unwrap();
        channels.sweep(later);
        assert_eq!(channels.len(), 4 + 1, "one is still followed");
        drop(followed);
        channels.sweep(later);
        assert_eq!((channels.len(), channels.held_bytes()), (4, 0));
        assert_eq!(
            channels.find(topic, who, NOW).map(|_| ()),
            Err(Refusal::Unknown)
        );
    }

    #[test]
    fn histories_together_are_bounded() {
        let config = HubConfig {
            history_total_bytes: 1_000,
            ..HubConfig::default()
        };
        let channels = Channels::new(&config, 1, NOW);
        for _ in 0..100 {
            channels.publish(Topic::NodeStatus, NOW, |_| "x".repeat(100).into());
        }
        assert!(channels.held_bytes() <= 1_200, "{}", channels.held_bytes());
    }
}
