//! Identical requests with determined answers, in flight at the same time, share one execution.
//!
//! Only for keys that have asked for it, and only within one organisation: whoever joins learns that somebody else has asked the
//! same. The execution belongs to none of its clients: it runs in a task of its own ([`run`]) until its last client has
//! left. Each client has its own head, its own place in the stream and its own record.

mod body;
mod run;

use std::collections::HashMap;
use std::sync::Arc;

use dialects::identity_key;
use http::Response;
use identity::Principal;
use parking_lot::Mutex;

use self::run::{Run, Seat};
use crate::body::ReplyBody;
use crate::exchange::Exchange;
use crate::front::reply::Reply;

pub(crate) use self::body::SharedBody;

/// Largest request body that is compared with others.
const LARGEST_BODY: usize = 1 << 20;

/// Whose requests, and which.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RunKey {
    organisation: u128,
    model: Arc<str>,
    request: Arc<str>,
}

/// The executions under way that others may join. An entry is there only while its run is, so requests in flight bound it.
#[derive(Default)]
pub(crate) struct Runs {
    runs: Mutex<HashMap<RunKey, Arc<Run>>>,
}

/// What a request shares with identical ones.
pub(crate) struct Shareable {
    key: RunKey,
}

/// Returns the organisation within which the caller's requests may share executions; `None` when he has not asked for it.
pub(crate) fn circle(principal: &Principal) -> Option<u128> {
    principal
        .shares_identical
        .then(|| principal.org.as_uuid().as_u128())
}

/// Tells whether a request may share its execution, and with which.
pub(crate) fn shareable(circle: Option<u128>, exchange: &Exchange) -> Option<Shareable> {
    let organisation = circle?;
    // Who is bound for one node asks for it, not for an answer that another one gives.
    if exchange.body.len() > LARGEST_BODY || exchange.asked.only.is_some() {
        return None;
    }
    // What cannot be read is for the node to judge.
    let request = identity_key(exchange.operation, &exchange.body).ok()??;
    Some(Shareable {
        key: RunKey {
            organisation,
            model: exchange.route.name.clone(),
            request: request.into(),
        },
    })
}

/// Answers a request by an execution that it shares, its own or one that is under way.
pub(crate) async fn answer(
    mut exchange: Box<Exchange>,
    shareable: Shareable,
    trailers: bool,
) -> Response<ReplyBody> {
    let seat = take_seat(&mut exchange, shareable.key);
    let (id, operation) = (exchange.id, exchange.operation);
    let shared = exchange.shared().clone();
    let other = crate::front::other_model(&exchange);
    let streams = exchange.asked.stream;
    let under_way = exchange.standing.clone();
    under_way.is_carried_by(seat.execution());
    let mut body = SharedBody::new(exchange, seat, trailers);
    let mut whole = None;
    let reading = async {
        if streams {
            body.ready().await
        } else {
            body.whole().await.map(|bytes| whole = Some(bytes))
        }
    };
    let ready = tokio::select! {
        biased;
        ready = reading => ready,
        error = under_way.stopped() => Err(body.stopped(error)),
    };
    let reply = Reply::new(id)
        .standing(&body.standing(), shared.clock.monotonic())
        .shares(body.joined_another())
        .model(other.as_deref());
    match (ready, whole) {
        (Err(error), _) => reply.error(operation.dialect(), &error),
        (Ok(()), Some(bytes)) => reply.whole("application/json; charset=utf-8", bytes),
        (Ok(()), None) => reply.stream(
            operation.framing().content_type(),
            ReplyBody::Shared(Box::new(body)),
            trailers,
        ),
    }
}

/// Joins the run for a key, or starts one.
fn take_seat(exchange: &mut Exchange, key: RunKey) -> Seat {
    let shared = exchange.shared().clone();
    let mut open = shared.runs.runs.lock();
    if let Some(run) = open.get(&key)
        && let Some(seat) = run.join()
    {
        shared.metrics.shared_executions.inc();
        return seat;
    }
    let (run, seat) = Run::start(exchange, key.clone());
    // A run that is full or has ended gives way to the new one.
    open.insert(key, run);
    seat
}

impl Runs {
    /// Forgets a run that nobody can join any more.
    fn close(&self, key: &RunKey, run: &Arc<Run>) {
        let mut open = self.runs.lock();
        if open.get(key).is_some_and(|kept| Arc::ptr_eq(kept, run)) {
            open.remove(key);
        }
    }
}
