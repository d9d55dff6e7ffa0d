//! Who waits for company, by what can be joined. Plain data behind one lock that is never held across an await.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use dialects::{ApiError, EmbedAnswer, EmbedRequest, EmbedShare};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;

use super::CoalescingRules;
use crate::exchange::Report;

/// Requests with the same key may share a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    /// The model, normalised.
    pub(super) model: Arc<str>,
    /// [`EmbedRequest::joining_key`].
    pub(super) task: String,
}

/// What a waiting request is told.
#[derive(Debug)]
pub(super) enum Told {
    /// Nothing is under way any more: wait no longer for company.
    Go,
    /// Another request has a place and takes this one along.
    Taken,
    /// The joined call is done; this is the request's part.
    Answer {
        answer: EmbedAnswer,
        report: Arc<Report>,
    },
    /// No node could do it.
    Failed {
        error: ApiError,
        report: Arc<Report>,
    },
    /// The joined call was refused as wrong: whose mistake it was shows when each goes alone.
    Alone(Arc<Report>),
}

/// Each of these is told at most once, in this order: go, taken, and how it ended.
const MESSAGES: usize = 3;

pub(super) type Inbox = mpsc::Receiver<Told>;
pub(super) type Outbox = mpsc::Sender<Told>;

/// A request that waits for company.
#[derive(Debug)]
pub(super) struct Waiting {
    id: u64,
    pub(super) request: Arc<EmbedRequest>,
    pub(super) share: EmbedShare,
    pub(super) outbox: Outbox,
}

#[derive(Debug, Default)]
struct Group {
    under_way: usize,
    waiting: VecDeque<Waiting>,
}

impl Group {
    fn is_idle(&self) -> bool {
        self.under_way == 0 && self.waiting.is_empty()
    }
}

/// All who wait. A key is there only while somebody waits or a call is under way, so requests in flight bound it.
#[derive(Debug)]
pub(crate) struct Groups {
    state: Mutex<State>,
    /// How many wait, over all groups.
    waiting: Gauge,
}

#[derive(Debug, Default)]
struct State {
    groups: HashMap<GroupKey, Group>,
    next_id: u64,
}

/// A request that has entered.
pub(super) struct Entered {
    pub(super) member: Member,
    pub(super) inbox: Inbox,
    /// Whether company is worth waiting for: a call for the same is under way, and the next one is not full yet.
    pub(super) waits: bool,
}

impl Groups {
    /// Makes it empty; whoever waits is counted in `waiting`.
    pub(crate) fn new(waiting: Gauge) -> Self {
        Self {
            state: Mutex::default(),
            waiting,
        }
    }

    /// Lets a request wait for company.
    pub(super) fn enter(
        self: Arc<Self>,
        key: GroupKey,
        request: Arc<EmbedRequest>,
        share: EmbedShare,
        rules: CoalescingRules,
    ) -> Entered {
        let (outbox, inbox) = mpsc::channel(MESSAGES);
        let (id, waits) = {
            let mut state = self.state.lock();
            state.next_id += 1;
            let id = state.next_id;
            let group = state.groups.entry(key.clone()).or_default();
            group.waiting.push_back(Waiting {
                id,
                request,
                share,
                outbox,
            });
            self.waiting.inc();
            let (inputs, size) = sums(group.waiting.iter().map(|waiting| waiting.share));
            let full = inputs >= rules.max_inputs || size >= rules.max_bytes;
            (id, group.under_way > 0 && !full)
        };
        Entered {
            member: Member {
                groups: self,
                key,
                id,
            },
            inbox,
            waits,
        }
    }

    fn leave(&self, key: &GroupKey, id: u64) {
        let mut state = self.state.lock();
        if let Some(group) = state.groups.get_mut(key) {
            let before = group.waiting.len();
            group.waiting.retain(|waiting| waiting.id != id);
            self.waiting.dec_by((before - group.waiting.len()) as i64);
            if group.is_idle() {
                state.groups.remove(key);
            }
        }
    }

    fn done(&self, key: &GroupKey) {
        let mut state = self.state.lock();
        let Some(group) = state.groups.get_mut(key) else {
            return;
        };
        group.under_way = group.under_way.saturating_sub(1);
        if group.is_idle() {
            state.groups.remove(key);
        } else if group.under_way == 0
            && let Some(first) = group.waiting.front()
        {
            // Its inbox has room, or it is gone and the next one looks after its own window.
            drop(first.outbox.try_send(Told::Go));
        }
    }
}

fn sums(shares: impl Iterator<Item = EmbedShare>) -> (usize, usize) {
    shares.fold((0, 0), |(inputs, size), share| {
        (inputs + share.inputs, size + share.size)
    })
}

/// A request's membership. Dropping it leaves, if the request was not taken along.
pub(super) struct Member {
    groups: Arc<Groups>,
    key: GroupKey,
    id: u64,
}

/// What a request takes along.
pub(super) struct Taken {
    /// The request itself.
    pub(super) first: Waiting,
    /// Those that go with it, in the order of arrival.
    pub(super) others: Vec<Waiting>,
    pub(super) under_way: UnderWay,
}

impl Member {
    /// Takes the request out of the group, and all those along that fit into one call with it. `None` when another one
    /// has taken it along already.
    pub(super) fn take(&self, rules: CoalescingRules) -> Option<Taken> {
        let mut state = self.groups.state.lock();
        let group = state.groups.get_mut(&self.key)?;
        let at = group.waiting.iter().position(|w| w.id == self.id)?;
        let first = group.waiting.remove(at)?;
        let (mut inputs, mut size) = (first.share.inputs, first.share.size);
        let mut others = Vec::new();
        let mut left = VecDeque::with_capacity(group.waiting.len());
        for waiting in group.waiting.drain(..) {
            let more = (inputs + waiting.share.inputs, size + waiting.share.size);
            if more.0 <= rules.max_inputs
                && more.1 <= rules.max_bytes
                && waiting.outbox.try_send(Told::Taken).is_ok()
            {
                (inputs, size) = more;
                others.push(waiting);
            } else {
                left.push_back(waiting);
            }
        }
        self.groups.waiting.dec_by(1 + others.len() as i64);
        group.waiting = left;
        group.under_way += 1;
        Some(Taken {
            first,
            others,
            under_way: UnderWay {
                groups: self.groups.clone(),
                key: self.key.clone(),
            },
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.groups.leave(&self.key, self.id);
    }
}

/// A call for a group is under way until this is dropped.
pub(super) struct UnderWay {
    groups: Arc<Groups>,
    key: GroupKey,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.groups.done(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dialects::{Operation, Request, decode_request};

    use super::*;

    const RULES: CoalescingRules = CoalescingRules {
        enabled: true,
        window: Duration::from_millis(1),
        max_inputs: 4,
        max_bytes: 100,
    };

    fn enter(groups: &Arc<Groups>, inputs: usize, size: usize) -> Entered {
        let body = br#"{"model":"m","input":"a"}"#;
        let Ok(Request::Embed(request)) = decode_request(Operation::OllamaEmbed, body) else {
            panic!("not read");
        };
        let key = GroupKey {
            model: "m".into(),
            task: String::new(),
        };
        let share = EmbedShare { inputs, size };
        groups.clone().enter(key, Arc::new(*request), share, RULES)
    }

    #[test]
    fn the_first_goes_at_once_and_the_next_wait_for_company() {
        let groups = Arc::new(Groups::new(Gauge::default()));
        let first = enter(&groups, 1, 1);
        assert!(!first.waits);
        let led = first.member.take(RULES).unwrap();
        assert!(led.others.is_empty());
        let (second, mut third) = (enter(&groups, 1, 1), enter(&groups, 2, 1));
        assert!(second.waits && third.waits);
        let full = enter(&groups, 1, 1);
        assert!(!full.waits, "nobody more fits");
        let led_too = full.member.take(RULES).unwrap();
        assert_eq!(led_too.others.len(), 2);
        assert!(matches!(third.inbox.try_recv(), Ok(Told::Taken)));
        assert!(third.member.take(RULES).is_none(), "it was taken along");
        let mut fourth = enter(&groups, 1, 1);
        assert!(fourth.waits);
        drop(led);
        assert!(fourth.inbox.try_recv().is_err());
        drop(led_too);
        assert!(matches!(fourth.inbox.try_recv(), Ok(Told::Go)));
        drop((first, second, third, full, fourth));
        assert!(groups.state.lock().groups.is_empty());
        assert_eq!(groups.waiting.get(), 0);
    }

    #[test]
    fn what_does_not_fit_stays_and_who_left_is_not_taken() {
        let groups = Arc::new(Groups::new(Gauge::default()));
        let one = enter(&groups, 1, 40);
        let (large, gone, small) = (
            enter(&groups, 1, 70),
            enter(&groups, 1, 1),
            enter(&groups, 3, 60),
        );
        drop(gone);
        let led = one.member.take(RULES).unwrap();
        assert_eq!(led.others.len(), 1);
        assert!(small.member.take(RULES).is_none());
        assert!(large.member.take(RULES).is_some());
    }
}
