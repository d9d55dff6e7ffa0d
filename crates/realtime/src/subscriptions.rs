//! What one connection listens to, and how far it has come in each.

use std::collections::BTreeMap;
use std::sync::Arc;

use primitives::Timestamp;
use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::channel::Channel;
use crate::channels::Channels;
use crate::history::Next;
use crate::inbound::Wanted;
use crate::seats::Seat;
use crate::standing::Standing;
use crate::topic::Topic;

/// The most topics of one connection.
const MOST: usize = 32;

/// What one connection listens to.
#[derive(Debug)]
pub(crate) struct Subscriptions {
    seat: Arc<Seat>,
    listening: Vec<Listening>,
    /// Where the next look begins, so that one busy topic does not keep the others waiting.
    turn: usize,
}

#[derive(Debug)]
struct Listening {
    channel: Arc<Channel>,
    /// The number of the last message that was taken.
    number: u64,
}

/// What the client is told of topics that it now gets.
#[derive(Debug, Serialize)]
pub(crate) struct Confirmed {
    subscribed_topics: Vec<String>,
    /// The position of each topic: its messages come from there on.
    positions: BTreeMap<String, String>,
    /// Whether each topic that was to be resumed goes on without a gap.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    resumed: BTreeMap<String, bool>,
}

/// What the client is told of topics that it does not get any more.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    unsubscribed_topics: Vec<String>,
}

/// What there is to send.
pub(crate) enum Pending {
    /// This message.
    Message(Utf8Bytes),
    /// Nothing.
    Nothing,
    /// Messages are gone that were not taken in time.
    Lost,
}

impl Subscriptions {
    pub(crate) const fn new(seat: Arc<Seat>) -> Self {
        Self {
            seat,
            listening: Vec::new(),
            turn: 0,
        }
    }

    /// Adds topics: all of them, or none and what stands against it. Who names a topic again starts in it anew.
    pub(crate) fn add(
        &mut self,
        wanted: &[Wanted],
        who: Standing,
        channels: &Channels,
        now: Timestamp,
    ) -> Result<Confirmed, String> {
        let found = wanted
            .iter()
            .map(|wanted| {
                let channel = channels.find(wanted.topic, who, now);
                channel.map_err(|refusal| refusal.message(wanted.topic))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let fresh = |channel: &&Arc<Channel>| !self.is_listening(channel.topic);
        if self.listening.len() + found.iter().filter(fresh).count() > MOST {
            return Err(format!(
                "a connection listens to at most {MOST} topics: unsubscribe from some, or open another connection"
            ));
        }
        let mut confirmed = Confirmed {
            subscribed_topics: Vec::with_capacity(found.len()),
            positions: BTreeMap::new(),
            resumed: BTreeMap::new(),
        };
        for (wanted, channel) in wanted.iter().zip(found) {
            self.remove(wanted.topic, now);
            let start = channel.listen(self.seat.number, &self.seat.bell, wanted.after);
            let name = wanted.topic.to_string();
            confirmed
                .positions
                .insert(name.clone(), start.position.to_string());
            if let Some(resumed) = start.resumed {
                confirmed.resumed.insert(name.clone(), resumed);
            }
            confirmed.subscribed_topics.push(name);
            self.listening.push(Listening {
                channel,
                number: start.position.number,
            });
        }
        Ok(confirmed)
    }

    /// Takes topics away; those that were not listened to are none of the answer.
    pub(crate) fn end(&mut self, topics: &[Wanted], now: Timestamp) -> Ended {
        let ended = topics
            .iter()
            .filter(|wanted| self.remove(wanted.topic, now))
            .map(|wanted| wanted.topic.to_string());
        Ended {
            unsubscribed_topics: ended.collect(),
        }
    }

    fn is_listening(&self, topic: Topic) -> bool {
        self.listening
            .iter()
            .any(|listening| listening.channel.topic == topic)
    }

    fn remove(&mut self, topic: Topic, now: Timestamp) -> bool {
        let before = self.listening.len();
        let number = self.seat.number;
        self.listening.retain(|listening| {
            let stays = listening.channel.topic != topic;
            if !stays {
                listening.channel.leave(number, now);
            }
            stays
        });
        self.listening.len() < before
    }

    /// Takes the next message, of one topic after the other.
    pub(crate) fn take(&mut self) -> Pending {
        let count = self.listening.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Some(listening) = self.listening.get_mut(index) else {
                continue;
            };
            match listening.channel.after(listening.number) {
                Next::Message(message) => {
                    listening.number += 1;
                    self.turn = index + 1;
                    return Pending::Message(message);
                }
                Next::Nothing => {}
                Next::Lost => return Pending::Lost,
            }
        }
        Pending::Nothing
    }

    /// Ends all of it.
    pub(crate) fn clear(&mut self, now: Timestamp) {
        for listening in self.listening.drain(..) {
            listening.channel.leave(self.seat.number, now);
        }
    }
}
