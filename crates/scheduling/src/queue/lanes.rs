//! Who waits for what: per lane and class the organisations in the order of their virtual time, per organisation its users,
//! per user the calls in the order of arrival.
//!
//! The orders go by the times that were current when somebody was put in. A time only grows, so who stands first with an
//! out-of-date time is put back to where it belongs, once, when somebody looks ([`Lanes::first`]).

use std::collections::BTreeSet;
use std::time::Duration;

use super::class::Class;
use super::entries::NONE;
use crate::hashing::NumberMap;
use crate::window::Window;

/// Something that can become free, named by whoever uses the queue: a model on a node, or a model anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u64);

/// Six buckets of five seconds: how fast a lane moves is judged by the last 30 seconds.
const RATE_BUCKETS: usize = 6;
const RATE_BUCKET: Duration = Duration::from_secs(5);

/// One lane.
#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) key: Lane,
    orders: [BTreeSet<(u64, u32)>; 4],
    pub(super) waiting: [u32; 4],
    /// Calls that were started from this lane lately.
    pub(super) started: Window<RATE_BUCKETS>,
    /// Calls that run here and may be asked to give their place up: the number of their start and their slot, the newest last.
    pub(super) preemptible: Vec<(u64, u32)>,
}

/// One organisation in one lane.
#[derive(Debug)]
struct Member {
    time: u64,
    users: BTreeSet<(u64, u32)>,
    waiting: u32,
}

/// One user's calls in one lane, linked through the entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) lane: u32,
    pub(super) class: Class,
    pub(super) organisation: u32,
    pub(super) user: u32,
    time: u64,
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) len: u32,
}

/// The current times of an organisation and of a user.
pub(super) trait Times {
    fn organisation(&self, index: u32) -> u64;
    fn user(&self, index: u32) -> u64;
}

/// All lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    index: NumberMap<u64, u32>,
    states: Vec<LaneState>,
    free: Vec<u32>,
    members: NumberMap<(u32, u32), Member>,
    flow_index: NumberMap<(u32, u32), u32>,
    flows: Vec<Flow>,
    free_flows: Vec<u32>,
}

impl Lanes {
    /// Returns the number of a lane, made at first use. Lanes are as many as the fleet has, and stay until they are closed.
    pub(super) fn open(&mut self, key: Lane) -> u32 {
        if let Some(index) = self.index.get(&key.0) {
            return *index;
        }
        let state = LaneState {
            key,
            orders: std::array::from_fn(|_| BTreeSet::new()),
            waiting: [0; 4],
            started: Window::new(RATE_BUCKET),
            preemptible: Vec::new(),
        };
        let index = if let Some(free) = self.free.pop() {
            if let Some(slot) = self.states.get_mut(free as usize) {
                *slot = state;
            }
            free
        } else {
            self.states.push(state);
            self.states.len() as u32 - 1
        };
        self.index.insert(key.0, index);
        index
    }

    /// Forgets a lane in which nothing waits.
    pub(super) fn close(&mut self, key: Lane) {
        if let Some(index) = self.find(key)
            && self.get(index).is_some_and(|lane| lane.waiting == [0; 4])
        {
            self.index.remove(&key.0);
            self.free.push(index);
        }
    }

    pub(super) fn find(&self, key: Lane) -> Option<u32> {
        self.index.get(&key.0).copied()
    }

    pub(super) fn get(&self, lane: u32) -> Option<&LaneState> {
        self.states.get(lane as usize)
    }

    pub(super) fn get_mut(&mut self, lane: u32) -> Option<&mut LaneState> {
        self.states.get_mut(lane as usize)
    }

    pub(super) fn flow(&self, flow: u32) -> Option<&Flow> {
        self.flows.get(flow as usize)
    }

    pub(super) fn flow_mut(&mut self, flow: u32) -> Option<&mut Flow> {
        self.flows.get_mut(flow as usize)
    }

    /// Counts the organisations that wait in a lane's class, and one organisation's users and calls there.
    pub(super) fn crowd(&self, flow: &Flow) -> (usize, usize, u32) {
        let organisations = self
            .get(flow.lane)
            .and_then(|lane| lane.orders.get(flow.class.index()))
            .map_or(0, BTreeSet::len);
        let member = self.members.get(&(flow.lane, flow.organisation));
        let (users, waiting) = member.map_or((0, 0), |m| (m.users.len(), m.waiting));
        (organisations, users, waiting)
    }

    /// Returns the flow of a user in a lane for one more call, made when the user has none there.
    pub(super) fn join(
        &mut self,
        lane: u32,
        class: Class,
        organisation: u32,
        user: u32,
        times: &impl Times,
    ) -> u32 {
        let Some(state) = self.states.get_mut(lane as usize) else {
            return NONE;
        };
        if let Some(waiting) = state.waiting.get_mut(class.index()) {
            *waiting += 1;
        }
        let member = self.members.entry((lane, organisation)).or_insert_with(|| {
            let time = times.organisation(organisation);
            if let Some(order) = state.orders.get_mut(class.index()) {
                order.insert((time, organisation));
            }
            Member {
                time,
                users: BTreeSet::new(),
                waiting: 0,
            }
        });
        member.waiting += 1;
        if let Some(flow) = self.flow_index.get(&(lane, user)) {
            return *flow;
        }
        let time = times.user(user);
        let made = Flow {
            lane,
            class,
            organisation,
            user,
            time,
            head: NONE,
            tail: NONE,
            len: 0,
        };
        let flow = if let Some(free) = self.free_flows.pop() {
            if let Some(slot) = self.flows.get_mut(free as usize) {
                *slot = made;
            }
            free
        } else {
            self.flows.push(made);
            self.flows.len() as u32 - 1
        };
        self.flow_index.insert((lane, user), flow);
        member.users.insert((time, flow));
        flow
    }

    /// Takes one call out of a flow's counts, and the flow out of the orders when it was the last.
    pub(super) fn leave(&mut self, index: u32) {
        let Some(flow) = self.flows.get(index as usize).copied() else {
            return;
        };
        if let Some(waiting) = self
            .states
            .get_mut(flow.lane as usize)
            .and_then(|lane| lane.waiting.get_mut(flow.class.index()))
        {
            *waiting = waiting.saturating_sub(1);
        }
        let key = (flow.lane, flow.organisation);
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        member.waiting = member.waiting.saturating_sub(1);
        if flow.len > 0 {
            return;
        }
        member.users.remove(&(flow.time, index));
        self.flow_index.remove(&(flow.lane, flow.user));
        self.free_flows.push(index);
        if member.users.is_empty() {
            let place = (member.time, flow.organisation);
            self.members.remove(&key);
            if let Some(lane) = self.states.get_mut(flow.lane as usize)
                && let Some(order) = lane.orders.get_mut(flow.class.index())
            {
                order.remove(&place);
            }
        }
    }

    /// Returns the virtual time and number of the organisation that is next in a lane's class.
    pub(super) fn first(
        &mut self,
        lane: u32,
        class: Class,
        times: &impl Times,
    ) -> Option<(u64, u32)> {
        let order = self
            .states
            .get_mut(lane as usize)?
            .orders
            .get_mut(class.index())?;
        loop {
            let place @ (time, organisation) = *order.first()?;
            let current = times.organisation(organisation);
            if current <= time {
                return Some(place);
            }
            order.remove(&place);
            order.insert((current, organisation));
            if let Some(member) = self.members.get_mut(&(lane, organisation)) {
                member.time = current;
            }
        }
    }

    /// Returns the virtual time of the organisation that comes after the first one in a lane's class, as far as it is up to date.
    pub(super) fn second_time(&self, lane: u32, class: Class) -> Option<u64> {
        let order = self.get(lane)?.orders.get(class.index())?;
        order.iter().nth(1).map(|(time, _)| *time)
    }

    /// Returns the flow of the user who is next of an organisation in a lane.
    pub(super) fn first_flow(
        &mut self,
        lane: u32,
        organisation: u32,
        times: &impl Times,
    ) -> Option<u32> {
        let users = &mut self.members.get_mut(&(lane, organisation))?.users;
        loop {
            let place @ (time, index) = *users.first()?;
            let flow = self.flows.get_mut(index as usize)?;
            let current = times.user(flow.user);
            if current <= time {
                return Some(index);
            }
            users.remove(&place);
            users.insert((current, index));
            flow.time = current;
        }
    }
}
