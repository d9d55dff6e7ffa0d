//! One execution for several clients: who makes it, what is kept of it, and who sits in.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use dialects::ApiError;
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::RunKey;
use crate::admission::Standing;
use crate::exchange::{Exchange, Report};
use crate::record::JoinedRecord;
use crate::relay::Relay;
use crate::shared::Shared;
use crate::unary;
use crate::under_way::UnderWay;

/// Most clients of one execution; further ones have their own.
const SEATS: usize = 256;
/// Bytes of an answer that are kept for those who join late; a longer one cannot be joined any more.
const KEPT: usize = 1 << 20;
/// How far the slowest client may be behind the answer, in bytes; who is further behind is cut off.
const LAG: usize = 4 << 20;

/// One execution.
pub(super) struct Run {
    key: RunKey,
    shared: Arc<Shared>,
    standing: Arc<UnderWay>,
    state: Mutex<State>,
    /// Ends it early.
    stop: OnceLock<AbortHandle>,
}

#[derive(Default)]
struct State {
    /// Whether there is something to send, keep-alives included.
    begun: bool,
    /// The answer, from the piece numbered `base` on.
    kept: VecDeque<Bytes>,
    base: usize,
    kept_bytes: usize,
    end: Option<End>,
    seats: HashMap<u64, Place>,
    next_seat: u64,
    /// Clients so far, those included who have left.
    clients: u32,
}

/// Where a client is.
#[derive(Default)]
struct Place {
    next: usize,
    waker: Option<Waker>,
}

/// How an execution ended.
#[derive(Clone)]
pub(super) struct End {
    /// The error that came in place of an answer.
    pub(super) failed: Option<ApiError>,
    /// Trailers of the stream.
    pub(super) trailers: Option<HeaderMap>,
    /// What the records say of it.
    pub(super) report: Arc<Report>,
}

/// The next thing that a client gets.
pub(super) enum Next {
    /// A piece of the answer.
    Piece(Bytes),
    /// The answer is complete, or broke off in an orderly way.
    End(End),
    /// The client was so slow that the next piece is gone.
    Missed,
}

impl Run {
    /// Starts an execution for `exchange`, which has the first seat.
    pub(super) fn start(exchange: &mut Exchange, key: RunKey) -> (Arc<Self>, Seat) {
        let mut errand = exchange.errand();
        // Who began it pays for it, even when they leave and others stay.
        errand.take_reservation(exchange);
        let run = Arc::new(Self {
            key,
            shared: exchange.shared().clone(),
            standing: errand.standing.clone(),
            state: Mutex::default(),
            stop: OnceLock::new(),
        });
        let seat = run.take_seat(&mut run.state.lock(), false);
        let task = tokio::spawn(produce(run.clone(), errand));
        // Nobody else sets it.
        drop(run.stop.set(task.abort_handle()));
        (run, seat)
    }

    /// Joins, unless it has ended, is full, or its beginning is not kept any more.
    pub(super) fn join(self: &Arc<Self>) -> Option<Seat> {
        let mut state = self.state.lock();
        let open = state.end.is_none()
            && state.base == 0
            && state.kept_bytes <= KEPT
            && (1..SEATS).contains(&state.seats.len());
        open.then(|| self.take_seat(&mut state, true))
    }

    fn take_seat(self: &Arc<Self>, state: &mut State, joined_another: bool) -> Seat {
        state.next_seat += 1;
        state.clients += 1;
        state.seats.insert(state.next_seat, Place::default());
        Seat {
            run: self.clone(),
            number: state.next_seat,
            joined_another,
        }
    }

    fn begin(&self) {
        self.change(|state| state.begun = true);
    }

    fn push(&self, piece: Bytes) {
        self.change(|state| {
            state.kept_bytes += piece.len();
            state.kept.push_back(piece);
            if state.kept_bytes <= KEPT {
                return;
            }
            let slowest = state.seats.values().map(|place| place.next).min();
            let read_by_all = slowest.unwrap_or(usize::MAX);
            while state.base < read_by_all || state.kept_bytes > LAG {
                let Some(gone) = state.kept.pop_front() else {
                    break;
                };
                state.kept_bytes -= gone.len();
                state.base += 1;
            }
        });
    }

    fn end(
        self: &Arc<Self>,
        failed: Option<ApiError>,
        trailers: Option<HeaderMap>,
        errand: &mut Exchange,
    ) {
        self.shared.runs.close(&self.key, self);
        let clients = self.state.lock().clients;
        if clients > 1 {
            errand.note_joined(JoinedRecord {
                requests: clients,
                inputs: 0,
            });
        }
        let report = errand.report();
        self.change(|state| {
            state.end = Some(End {
                failed,
                trailers,
                report,
            });
        });
    }

    /// Changes the state and wakes all who wait for that, after the lock is released.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers: Vec<Waker> = {
            let mut state = self.state.lock();
            change(&mut state);
            let places = state.seats.values_mut();
            places.filter_map(|place| place.waker.take()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// Makes the answer, as it would be made for one client.
async fn produce(run: Arc<Run>, mut errand: Box<Exchange>) {
    if !errand.asked.stream {
        match unary::answer(&mut errand).await {
            Ok(body) => {
                run.push(body);
                run.end(None, None, &mut errand);
            }
            Err(error) => run.end(Some(error), None, &mut errand),
        }
        return;
    }
    let mut relay = Relay::new(errand, true);
    let (mut failed, mut trailers) = (None, None);
    if let Err(error) = relay.ready().await {
        failed = Some(error);
    } else {
        run.begin();
        while let Some(Ok(frame)) = poll_fn(|cx| relay.poll_frame(cx)).await {
            match frame.into_data() {
                Ok(piece) => run.push(piece),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
    }
    if let Some(errand) = relay.exchange_mut() {
        run.end(failed, trailers, errand);
    }
}

/// A client's place in an execution. Dropping the last one ends it.
pub(super) struct Seat {
    run: Arc<Run>,
    number: u64,
    /// Whether the execution was under way already.
    pub(super) joined_another: bool,
}

impl Seat {
    /// Returns where the execution stands.
    pub(super) fn standing(&self) -> Standing {
        self.run.standing.standing()
    }

    /// Returns the execution, as others see it.
    pub(super) fn execution(&self) -> Arc<UnderWay> {
        self.run.standing.clone()
    }

    /// Waits until there is something to send, or the end.
    pub(super) fn poll_begun(&self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        let mut state = self.run.state.lock();
        if let Some(end) = &state.end {
            return Poll::Ready(Some(end.clone()));
        }
        if state.begun || !state.kept.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(place) = state.seats.get_mut(&self.number) {
            place.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Returns the next thing.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut state = self.run.state.lock();
        let state = &mut *state;
        let Some(place) = state.seats.get_mut(&self.number) else {
            return Poll::Ready(Next::Missed);
        };
        let Some(at) = place.next.checked_sub(state.base) else {
            return Poll::Ready(Next::Missed);
        };
        if let Some(piece) = state.kept.get(at) {
            place.next += 1;
            return Poll::Ready(Next::Piece(piece.clone()));
        }
        if let Some(end) = &state.end {
            return Poll::Ready(Next::End(end.clone()));
        }
        place.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (left, abandoned) = {
            let mut state = self.run.state.lock();
            let left = state.seats.remove(&self.number);
            (left, state.seats.is_empty() && state.end.is_none())
        };
        drop(left);
        if abandoned {
            self.run.shared.runs.close(&self.run.key, &self.run);
            if let Some(stop) = self.run.stop.get() {
                stop.abort();
            }
        }
    }
}
