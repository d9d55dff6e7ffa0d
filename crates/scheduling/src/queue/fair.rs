//! The fair queue's operations.

use std::time::Duration;

use primitives::MonotonicTime;

use super::accounts::Accounts;
use super::class::Class;
use super::entries::{Entries, Entry, Standing, Ticket};
use super::lanes::{Lane, Lanes, Times};
use super::limits::{QueueLimits, Refusal, RefusalReason};
use super::preemption::MAX_GAVE_WAY;
use super::turns::ClassAccount;

/// Who a call belongs to, as numbers: an organisation, and a user or key in it (`id.as_uuid().as_u128()`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tenant {
    /// The organisation.
    pub organisation: u128,
    /// The user or key.
    pub user: u128,
}

/// A call that asks to wait.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// What it waits for.
    pub lane: Lane,
    /// Its class, within its key's ceiling.
    pub class: Class,
    /// Who it belongs to.
    pub tenant: Tenant,
    /// What it will probably use: estimated tokens times the model's cost. At least 1 is charged.
    pub cost: u64,
}

/// Where a waiting call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its position in its lane, 1 for the next one. An estimate from above: who arrives later may still go first.
    pub position: u32,
    /// How long it will probably wait, once the lane has moved lately.
    pub expected_wait: Option<Duration>,
}

pub(super) type OrganisationKey = (Class, u128);
pub(super) type UserKey = (Class, u128, u128);

/// The bounded, fair queue. `T` is what the owner keeps with a waiting call.
#[derive(Debug)]
pub struct FairQueue<T> {
    pub(super) limits: QueueLimits,
    pub(super) entries: Entries<T>,
    pub(super) lanes: Lanes,
    pub(super) classes: [ClassAccount; 4],
    pub(super) newest_start: u64,
    pub(super) organisations: Accounts<OrganisationKey>,
    pub(super) users: Accounts<UserKey>,
    pub(super) waiting: usize,
    pub(super) sequence: u64,
    pub(super) starts: u64,
    /// The last two organisations that called, and when.
    pub(super) callers: [Option<(u32, MonotonicTime)>; 2],
}

/// What is compared of the first calls of several lanes, in this order: two lanes may be headed by users of one organisation, or
/// by calls of one user.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    class_time: u64,
    time: u64,
    organisation: u32,
    user_time: u64,
    sequence: u64,
}

pub(super) struct CurrentTimes<'a>(
    pub(super) &'a Accounts<OrganisationKey>,
    pub(super) &'a Accounts<UserKey>,
);

impl Times for CurrentTimes<'_> {
    fn organisation(&self, index: u32) -> u64 {
        self.0.get(index).map_or(0, |account| account.time)
    }

    fn user(&self, index: u32) -> u64 {
        self.1.get(index).map_or(0, |account| account.time)
    }
}

impl<T> FairQueue<T> {
    /// Makes an empty queue.
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            entries: Entries::new(),
            lanes: Lanes::default(),
            classes: [ClassAccount::default(); 4],
            newest_start: 0,
            organisations: Accounts::new(),
            users: Accounts::new(),
            waiting: 0,
            sequence: 0,
            starts: 0,
            callers: [None; 2],
        }
    }

    /// Replaces the bounds. Calls that wait already stay, even beyond the new ones.
    pub const fn set_limits(&mut self, limits: QueueLimits) {
        self.limits = limits;
    }

    /// Counts the calls that wait.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Counts the calls that run: started and not ended.
    pub const fn running(&self) -> usize {
        self.entries.len() - self.waiting
    }

    /// Counts the calls that wait in a lane.
    pub fn waiting_in(&self, lane: Lane) -> u32 {
        self.lanes
            .find(lane)
            .and_then(|lane| self.lanes.get(lane))
            .map_or(0, |lane| lane.waiting.iter().sum())
    }

    /// Puts a call into its lane. Every call goes through here, also when it can be started at once.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when its class or its organisation has too many calls waiting.
    pub fn push(
        &mut self,
        call: Waiting,
        payload: T,
        now: MonotonicTime,
    ) -> Result<Ticket, Refusal> {
        self.admit(&call, now)?;
        let class = &mut self.classes[call.class.index()];
        if class.waiting == 0 {
            class.time = class.time.max(self.newest_start);
        }
        class.waiting += 1;
        let organisation_key = (call.class, call.tenant.organisation);
        let organisation = self
            .organisations
            .hold(organisation_key, class.newest_start);
        let user_start = self
            .organisations
            .get(organisation)
            .map_or(0, |account| account.newest_start);
        let user_key = (call.class, call.tenant.organisation, call.tenant.user);
        let user = self.users.hold(user_key, user_start);
        self.note_caller(organisation, now);
        self.sequence += 1;
        let lane = self.lanes.open(call.lane);
        let ticket = self.entries.insert(Entry {
            payload: Some(payload),
            standing: Standing::Running { preemptible: false },
            class: call.class,
            lane,
            organisation,
            user,
            cost: call.cost.max(1),
            charged: false,
            sequence: self.sequence,
            since: now,
            gave_way: 0,
            way_made: false,
        });
        self.link(ticket, lane);
        self.count_waiting(ticket);
        Ok(ticket)
    }

    fn admit(&self, call: &Waiting, now: MonotonicTime) -> Result<(), Refusal> {
        let refuse = |reason, waiting, limit| {
            let retry_after = self
                .lanes
                .find(call.lane)
                .and_then(|lane| self.drain_time(lane, 1, now))
                .unwrap_or(Duration::from_secs(5))
                .clamp(Duration::from_secs(1), Duration::from_mins(1));
            Err(Refusal {
                reason,
                waiting,
                limit,
                retry_after,
            })
        };
        let (waiting, limit) = (
            self.classes[call.class.index()].waiting,
            self.limits.of(call.class),
        );
        if waiting >= limit {
            return refuse(RefusalReason::ClassFull, waiting, limit);
        }
        let waiting = self
            .organisations
            .find(&(call.class, call.tenant.organisation))
            .and_then(|index| self.organisations.get(index))
            .map_or(0, |account| account.waiting);
        let limit = self.limits.per_organisation(call.class);
        if waiting >= limit {
            return refuse(RefusalReason::OrganisationFull, waiting, limit);
        }
        Ok(())
    }

    /// Returns who is next among the calls that wait in `lanes`: those that something could serve now.
    pub fn next(&mut self, lanes: impl IntoIterator<Item = Lane>) -> Option<Ticket> {
        let times = CurrentTimes(&self.organisations, &self.users);
        let mut best: Option<(Turn, Ticket)> = None;
        for key in lanes {
            let Some(lane) = self.lanes.find(key) else {
                continue;
            };
            for class in Class::ALL {
                let waiting = self.lanes.get(lane).map_or(0, |l| l.waiting[class.index()]);
                if waiting == 0 {
                    continue;
                }
                // The platform's own calls come first whatever they were given.
                let class_time = match class {
                    Class::System => 0,
                    _ => self.classes[class.index()].time.saturating_add(1),
                };
                if best.is_some_and(|(turn, _)| turn.class_time < class_time) {
                    continue;
                }
                let Some((time, organisation)) = self.lanes.first(lane, class, &times) else {
                    continue;
                };
                let head = self
                    .lanes
                    .first_flow(lane, organisation, &times)
                    .and_then(|flow| self.lanes.flow(flow))
                    .and_then(|flow| Some((flow.user, self.entries.ticket(flow.head)?)));
                let Some((user, ticket)) = head else {
                    continue;
                };
                let turn = Turn {
                    class_time,
                    time,
                    organisation,
                    user_time: times.user(user),
                    sequence: self.entries.get(ticket).map_or(0, |e| e.sequence),
                };
                if best.is_none_or(|(best, _)| turn < best) {
                    best = Some((turn, ticket));
                }
            }
        }
        best.map(|(_, ticket)| ticket)
    }

    /// Returns what is kept with a waiting call.
    pub fn payload(&self, ticket: Ticket) -> Option<&T> {
        self.entries.get(ticket)?.payload.as_ref()
    }

    /// Returns what is kept with a waiting call, to be changed.
    pub fn payload_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        self.entries.get_mut(ticket)?.payload.as_mut()
    }

    /// Starts a waiting call at `seat` (the lane of what serves it) and charges its estimate. From here on it runs until
    /// [`end`](Self::end). Returns what was kept with it; `None` when it does not wait.
    pub fn start(&mut self, ticket: Ticket, seat: Lane, now: MonotonicTime) -> Option<T> {
        let from = self.unlink(ticket)?;
        let seat = self.lanes.open(seat);
        let entry = self.entries.get_mut(ticket)?;
        let class = entry.class;
        let (organisation, user) = (entry.organisation, entry.user);
        let preemptible = class == Class::Batch && entry.gave_way < MAX_GAVE_WAY;
        entry.standing = Standing::Running { preemptible };
        entry.way_made = false;
        entry.lane = seat;
        let payload = entry.payload.take();
        self.uncount_waiting(class, organisation, user);
        self.charge(ticket);
        if let Some(lane) = self.lanes.get_mut(from) {
            lane.started.add(now, 1, 0);
        }
        self.starts += 1;
        if preemptible && let Some(lane) = self.lanes.get_mut(seat) {
            lane.preemptible.push((self.starts, ticket.slot()));
        }
        payload
    }

    /// Ends a call, wherever it stands: a waiting one is taken out, a running one is settled with the weighted tokens that it
    /// really used. Returns what was kept with it if it still waited. An ended ticket changes nothing.
    pub fn end(&mut self, ticket: Ticket, used: u64) -> Option<T> {
        if self.unlink(ticket).is_some() {
            self.refund(ticket);
            let entry = self.entries.remove(ticket)?;
            self.uncount_waiting(entry.class, entry.organisation, entry.user);
            self.organisations.release(entry.organisation);
            self.users.release(entry.user);
            return entry.payload;
        }
        let entry = self.entries.remove(ticket)?;
        self.unlist_preemptible(ticket, entry.lane);
        self.settle(&entry, used);
        self.organisations.release(entry.organisation);
        self.users.release(entry.user);
        None
    }

    /// Gives a waiting call its turn at a seat that has no room yet: it is charged now and waits in the seat's lane. Whoever
    /// waits there goes before those who wait for any seat: ask for that lane [first](Self::next).
    pub fn reserve(&mut self, ticket: Ticket, seat: Lane) {
        if self.move_entry(ticket, seat) {
            self.charge(ticket);
        }
    }

    /// Lets a waiting call wait in another lane, without a turn. Among its user's calls there it keeps its place.
    pub fn move_to(&mut self, ticket: Ticket, lane: Lane) {
        if self.move_entry(ticket, lane) {
            self.refund(ticket);
        }
    }

    fn move_entry(&mut self, ticket: Ticket, lane: Lane) -> bool {
        let lane = self.lanes.open(lane);
        let waits = self.unlink(ticket).is_some();
        if waits {
            self.link(ticket, lane);
        }
        waits
    }

    /// Puts a running call back to wait in `lane`, as if it had never been started: its node failed, or it made room for
    /// another. Tells whether it was running.
    pub fn put_back(&mut self, ticket: Ticket, lane: Lane, payload: T) -> bool {
        let lane = self.lanes.open(lane);
        let Some(entry) = self.entries.get_mut(ticket) else {
            return false;
        };
        if let Standing::Waiting { .. } = entry.standing {
            return false;
        }
        entry.payload = Some(payload);
        let (class, ran_at) = (entry.class, entry.lane);
        self.unlist_preemptible(ticket, ran_at);
        self.refund(ticket);
        self.classes[class.index()].waiting += 1;
        self.link(ticket, lane);
        self.count_waiting(ticket);
        true
    }

    /// Tells where a waiting call stands; `None` when it does not wait.
    pub fn place(&self, ticket: Ticket, now: MonotonicTime) -> Option<Place> {
        let entry = self.entries.get(ticket)?;
        let Standing::Waiting { flow, .. } = entry.standing else {
            return None;
        };
        let flow = self.lanes.flow(flow)?;
        let head = self.entries.at(flow.head)?;
        // Each of the user's earlier calls lets everybody else have a turn, and so does each turn of the organisation.
        let own = u64::from(flow.len.saturating_sub(1)).min(entry.sequence - head.sequence);
        let (organisations, users, in_organisation) = self.lanes.crowd(flow);
        let own_turns = ((own + 1) * users.max(1) as u64).min(u64::from(in_organisation));
        let waiting = self.lanes.get(flow.lane)?.waiting;
        let in_class = u64::from(waiting[flow.class.index()]);
        let before: u64 = waiting
            .iter()
            .take(flow.class.index())
            .map(|n| u64::from(*n))
            .sum();
        let position = before
            + (own_turns * organisations.max(1) as u64)
                .min(in_class)
                .max(1);
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        Some(Place {
            position,
            expected_wait: self.drain_time(flow.lane, position, now),
        })
    }

    /// Returns how long `calls` calls would take to start at the pace of the last seconds in `lanes` together; `None` when none
    /// was started there.
    pub fn pace(
        &self,
        lanes: impl IntoIterator<Item = Lane>,
        calls: u32,
        now: MonotonicTime,
    ) -> Option<Duration> {
        let (mut count, mut length) = (0_u32, Duration::ZERO);
        for lane in lanes {
            let found = self.lanes.find(lane).and_then(|lane| self.lanes.get(lane));
            if let Some(lane) = found {
                let mut started = lane.started.clone();
                count = count.saturating_add(started.sums(now).0);
                length = started.length();
            }
        }
        (count > 0).then(|| length.mul_f64(f64::from(calls) / f64::from(count)))
    }

    /// Returns how long a call waits or runs already.
    pub fn age(&self, ticket: Ticket, now: MonotonicTime) -> Option<Duration> {
        Some(now.since(self.entries.get(ticket)?.since))
    }

    /// Returns the lane in which a call waits or runs.
    pub fn lane_of(&self, ticket: Ticket) -> Option<Lane> {
        let lane = self.entries.get(ticket)?.lane;
        Some(self.lanes.get(lane)?.key)
    }

    /// Forgets a lane that the fleet no longer has. Does nothing while calls wait there: move them first.
    pub fn close_lane(&mut self, lane: Lane) {
        self.lanes.close(lane);
    }

    fn drain_time(&self, lane: u32, calls: u32, now: MonotonicTime) -> Option<Duration> {
        let mut started = self.lanes.get(lane)?.started.clone();
        let (count, _) = started.sums(now);
        (count > 0).then(|| {
            started
                .length()
                .mul_f64(f64::from(calls) / f64::from(count))
        })
    }
}
