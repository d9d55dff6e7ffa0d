//! One inference request from arrival to its record: the state that every step adds to.
//!
//! Dropping an exchange that was not ended books it as cancelled: a client that goes away drops the future or the body
//! that owns it, and with it the connection to the node.

mod end;
mod errand;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use dialects::{ApiError, Operation, Request, ResidencyChange, Usage};
use http::HeaderValue;
use identity::limits::Reservation;
use identity::{Principal, PrincipalKind};
use primitives::{ErrorKind, MonotonicTime, NodeId, RequestId, Timestamp};
use scheduling::queue::{Class, Place, Tenant, Ticket};
use scheduling::{CallOutcome, CapacityOutcome, Exclusion, SpeedSample};

use crate::admission::{Facts, Load, Queued, Turn};
use crate::body_memory::RequestBody;
use crate::fleet_view::{Replica, Route};
use crate::record::{
    AttemptRecord, Caller, JoinedRecord, RECORDED_ERROR, RecordOwner, SplitRecord,
};
use crate::routing::{Chosen, EXPECTED_COMPLETION};
use crate::shared::{InFlight, Shared, Worker};
use crate::under_way::{self, UnderWay};
use crate::upstream::attempt::Opened;

pub(crate) use self::end::clip;
pub(crate) use self::errand::{Closing, Report};

/// How often all nodes are tried again, after a pause each, before an answer has begun.
const FIRST_ROUNDS: u32 = 4;
/// How often for an answer that has begun.
const CONTINUATION_ROUNDS: u32 = 20;
/// Most attempts kept in a record; further ones take the place of the last.
const RECORDED_ATTEMPTS: usize = 32;

/// What the head of the body said, owned.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact of the head, and none excludes another"
)]
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The model as the client wrote it.
    pub(crate) model: String,
    /// Where that name stands in the body, quotes included.
    pub(crate) model_span: Option<Range<usize>>,
    /// Whether a stream is wanted.
    pub(crate) stream: bool,
    /// Whether the client wants usage in the stream (OpenAI).
    pub(crate) include_usage: bool,
    /// Whether there is no prompt, which in Ollama loads or unloads the model.
    pub(crate) empty_prompt: bool,
    /// Which of both it does.
    pub(crate) residency: Option<ResidencyChange>,
    /// The context size asked for.
    pub(crate) num_ctx: Option<u32>,
    /// The most tokens wanted.
    pub(crate) max_tokens: Option<u32>,
    /// Estimated prompt tokens.
    pub(crate) prompt_tokens: u32,
    /// Whether texts are to be embedded: each of them has the context for itself.
    pub(crate) embeds: bool,
    /// Hashes of the prompt's leading blocks.
    pub(crate) prefix: Vec<u64>,
    /// The only node that may serve it.
    pub(crate) only: Option<NodeId>,
}

/// A request under way.
pub(crate) struct Exchange {
    pub(crate) worker: Arc<Worker>,
    pub(crate) id: RequestId,
    pub(crate) operation: Operation,
    pub(crate) body: RequestBody,
    pub(crate) asked: Asked,
    pub(crate) route: Arc<Route>,
    /// The node and model that serve it now.
    pub(crate) replica: Option<Arc<Replica>>,
    pub(crate) standing: Arc<UnderWay>,
    /// Its turn in the queue, once it has entered it.
    pub(crate) turn: Option<Turn>,
    /// Whether it gave its place up and has to wait for the next one, even if there is room.
    pub(crate) waits_again: bool,
    pub(crate) class: Class,
    pub(crate) tenant: Tenant,
    /// Nodes that it is not sent to, and why: they failed for it since its answer last made progress, or cannot do what it asks.
    pub(crate) passed_over: Vec<(NodeId, Exclusion)>,
    /// Tries since then that reached a node and failed.
    pub(crate) tries: usize,
    /// Why the last try failed, if the next one is a retry for it: it is one only when there is a node for it.
    pub(crate) retries_after: Option<&'static str>,
    /// Whether a try failed because a connection was lost.
    pub(crate) lost_connections: bool,
    /// What the last failed try said.
    pub(crate) last_failure: Option<Box<ApiError>>,
    rounds_left: u32,
    attempts: Vec<AttemptRecord>,
    pub(crate) retries: u32,
    pub(crate) continued: u32,
    pub(crate) policy: &'static str,
    /// What a split chose.
    split: Option<Arc<SplitRecord>>,
    /// Tokens that the client had when the present node took over.
    pub(crate) continued_after: u64,
    /// The client's trace context, passed on to nodes; on the heap, since few have one.
    pub(crate) traceparent: Option<Box<HeaderValue>>,
    /// The gateways that the request has passed, this one included, told to nodes.
    pub(crate) hops: HeaderValue,
    /// The request taken apart, once that was needed; on the heap, since most pass as they are.
    canonical: Option<Box<Request>>,
    caller: Caller,
    caller_name: Arc<str>,
    owner: RecordOwner,
    client: IpAddr,
    received_at: Timestamp,
    arrived: MonotonicTime,
    first_token: Option<MonotonicTime>,
    ended: bool,
    /// A place that it was given already, for its next try. Few ever are, and few have limits: both on the heap.
    pub(crate) granted: Option<Box<Chosen>>,
    /// The requests that its present call serves together, when there are several.
    pub(crate) joined: Option<JoinedRecord>,
    /// In how many parts it went to nodes; 0 when in one piece.
    pub(crate) parts: u32,
    role: Role,
    /// What it may use of its caller's limits, where there are any.
    reservation: Option<Box<Reservation>>,
    /// How it ended; on the heap, since most of its life it has not.
    closing: Option<Box<Closing>>,
    _in_flight: Option<InFlight>,
}

/// What an exchange stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A client's request, which is booked.
    Request,
    /// A client's request whose answer another one has paid for: the node's tokens are not its own.
    Follower,
    /// A call for other requests, or a part of one: they are booked, it is not.
    Errand,
}

/// What is known when a request has been authenticated and read.
pub(crate) struct Arrival {
    pub(crate) id: RequestId,
    pub(crate) operation: Operation,
    pub(crate) principal: Principal,
    pub(crate) peer: SocketAddr,
    pub(crate) received_at: Timestamp,
    pub(crate) arrived: MonotonicTime,
    pub(crate) traceparent: Option<HeaderValue>,
    pub(crate) hops: HeaderValue,
    /// How important it is.
    pub(crate) class: Class,
    /// What was reserved for it of its caller's limits.
    pub(crate) reservation: Option<Reservation>,
    /// What a split chose for its caller.
    pub(crate) split: Option<Arc<SplitRecord>>,
}

impl Exchange {
    /// Begins the bookkeeping of a request.
    pub(crate) fn new(
        worker: Arc<Worker>,
        arrival: Arrival,
        mut in_flight: InFlight,
        body: RequestBody,
        asked: Asked,
        route: Arc<Route>,
    ) -> Self {
        let policy = route.policy.name();
        let tenant = tenant(&arrival.principal);
        let caller = Caller::of(&arrival.principal);
        let standing = UnderWay::new(under_way::Facts {
            id: arrival.id,
            dialect: arrival.operation.dialect(),
            operation: arrival.operation.as_str(),
            model: route.name.clone(),
            caller: arrival.principal.name.clone(),
            organisation: arrival.principal.org,
            class: arrival.class,
            stream: asked.stream,
            received_at: arrival.received_at,
        });
        in_flight.list(&standing);
        Self {
            worker,
            id: arrival.id,
            operation: arrival.operation,
            body,
            asked,
            route,
            replica: None,
            standing,
            turn: None,
            waits_again: false,
            class: arrival.class,
            tenant,
            passed_over: Vec::new(),
            tries: 0,
            retries_after: None,
            lost_connections: false,
            last_failure: None,
            rounds_left: FIRST_ROUNDS,
            attempts: Vec::with_capacity(1),
            retries: 0,
            continued: 0,
            policy,
            split: arrival.split,
            continued_after: 0,
            traceparent: arrival.traceparent.map(Box::new),
            hops: arrival.hops,
            canonical: None,
            caller,
            owner: RecordOwner::of(&arrival.principal),
            caller_name: arrival.principal.name,
            client: arrival.peer.ip(),
            received_at: arrival.received_at,
            arrived: arrival.arrived,
            first_token: None,
            ended: false,
            granted: None,
            joined: None,
            parts: 0,
            role: Role::Request,
            reservation: arrival.reservation.map(Box::new),
            closing: None,
            _in_flight: Some(in_flight),
        }
    }

    /// Looks up the model's replicas anew: nodes may have come, left or changed since.
    pub(crate) fn renew_route(&mut self) {
        let table = self.shared().routes.load();
        let route = table.model(&self.route.name).cloned();
        self.route = route.unwrap_or_else(|| Arc::new(Route::unknown(&self.route.name)));
    }

    /// Returns what it is expected to cost a node.
    pub(crate) fn load(&self) -> Load<'_> {
        Load {
            prompt_tokens: self.asked.prompt_tokens,
            answer_tokens: self.asked.max_tokens.unwrap_or(EXPECTED_COMPLETION),
            prefix: &self.asked.prefix,
            streams: self.asked.stream,
            residency: self.asked.residency,
        }
    }

    /// Returns what others need to know to decide for it while it waits.
    pub(crate) fn facts(&self) -> Facts {
        Facts {
            model: self.route.name.clone(),
            prompt_tokens: self.asked.prompt_tokens,
            max_tokens: self.asked.max_tokens,
            num_ctx: self.asked.num_ctx,
            prefix: self.asked.prefix.clone(),
            passed_over: self.passed_over.clone(),
            streams: self.asked.stream,
            embeds: self.asked.embeds,
            residency: self.asked.residency,
            class: self.class,
            tenant: self.tenant,
            caller: self.caller_name.clone(),
            only: self.asked.only,
        }
    }

    /// Notes that it waits in the queue from now on, if it has a place there.
    pub(crate) fn begin_waiting(&self, place: Option<(Ticket, Place)>) {
        let Some((ticket, place)) = place else {
            return;
        };
        let now = self.shared().clock.monotonic();
        let mut standing = self.standing.lock();
        let queued = standing.queued.get_or_insert(Queued {
            position: place.position,
            expected: place.expected_wait,
            waits: None,
            before: Duration::ZERO,
        });
        queued.waits = Some((now, ticket));
    }

    /// Notes that it waits no more.
    pub(crate) fn end_waiting(&self) {
        let now = self.shared().clock.monotonic();
        if let Some(queued) = &mut self.standing.lock().queued
            && let Some((since, _)) = queued.waits.take()
        {
            let waited = now.since(since);
            queued.before += waited;
            self.shared()
                .metrics
                .queue_wait
                .observe(waited.as_secs_f64());
        }
    }

    /// Returns what all workers share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.worker.shared
    }

    /// Returns the request in canonical form, reading the body in full at the first call.
    pub(crate) fn canonical(&mut self) -> Result<&Request, ApiError> {
        if self.canonical.is_none() {
            let request = dialects::decode_request(self.operation, &self.body)?;
            self.canonical = Some(Box::new(request));
        }
        self.canonical.as_deref().ok_or_else(|| {
            ApiError::new(ErrorKind::Bug, "the request was lost: please report this")
        })
    }

    /// Returns when the request arrived.
    pub(crate) const fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// Returns microseconds since the request arrived.
    pub(crate) fn elapsed_us(&self) -> u64 {
        self.elapsed().as_micros() as u64
    }

    /// Returns the time since the request arrived.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared().clock.monotonic().since(self.arrived)
    }

    /// Notes that the first token (or the whole answer) is here; later calls change nothing.
    pub(crate) fn note_first_token(&mut self) {
        if self.first_token.is_none() {
            self.first_token = Some(self.shared().clock.monotonic());
            self.standing.begin();
        }
    }

    /// Notes an attempt.
    pub(crate) fn push_attempt(&mut self, attempt: AttemptRecord) {
        if self.attempts.len() >= RECORDED_ATTEMPTS {
            self.attempts.pop();
        }
        self.attempts.push(attempt);
    }

    /// Notes how the last attempt went wrong.
    pub(crate) fn note_failure(&mut self, why: &str) {
        if self.ended {
            return;
        }
        let now = self.elapsed_us();
        if let Some(attempt) = self.attempts.last_mut() {
            attempt
                .failure
                .get_or_insert_with(|| clip(why, RECORDED_ERROR));
            attempt
                .took_us
                .get_or_insert(now.saturating_sub(attempt.started_us));
        }
    }

    /// Notes that the answer goes on elsewhere after `tokens` tokens: nodes that failed earlier may be asked again, but
    /// for the last one.
    pub(crate) fn begin_continuation(&mut self, tokens: u64) {
        self.continued_after = tokens;
        self.tries = 0;
        self.rounds_left = CONTINUATION_ROUNDS;
        // Whatever happened to the node: the answer may go on there, too, once it is back.
        self.lost_connections = true;
        if let Some(last) = self.passed_over.pop() {
            self.passed_over = vec![last];
        }
    }

    /// Tells whether the model is on a node that may be asked yet.
    pub(crate) fn has_untried_node(&self) -> bool {
        self.route
            .replicas
            .iter()
            .any(|replica| !self.passes_over(replica.node.view.id))
    }

    /// Tells whether it is not sent to a node.
    pub(crate) fn passes_over(&self, node: NodeId) -> bool {
        self.passed_over.iter().any(|(over, _)| *over == node)
    }

    /// Gives the request in canonical form up again, for the time that it only waits.
    pub(crate) fn forget_canonical(&mut self) {
        self.canonical = None;
    }

    /// Lets the nodes that failed be tried once more.
    pub(crate) fn try_all_again(&mut self) {
        self.passed_over
            .retain(|(_, why)| *why == Exclusion::Unsupported);
    }

    /// Lets all nodes be tried once more, if connections were lost and patience is left.
    pub(crate) fn next_round(&mut self) -> bool {
        if !self.lost_connections || self.rounds_left == 0 {
            return false;
        }
        self.rounds_left -= 1;
        self.try_all_again();
        true
    }

    /// Notes that a node did its work: its breaker closes and its speed is learned.
    pub(crate) fn note_success(&self, opened: &mut Opened, usage: &Usage, before: u64) {
        let now = self.shared().clock.monotonic();
        let live = &opened.chosen.replica.live;
        {
            let mut breaker = live.breaker.lock();
            breaker.record(CallOutcome::Success, now);
            live.series
                .breaker_open
                .set(i64::from(breaker.is_open(now)));
        }
        // A continued answer's first token came from elsewhere: it says nothing about this node.
        let first_token = self
            .first_token
            .filter(|_| before == 0)
            .map(|at| at.since(opened.sent_at));
        live.speed.lock().observe(&SpeedSample {
            prefill_tokens: usage
                .prompt_tokens
                .saturating_sub(usage.cached_tokens.unwrap_or(0)),
            prefill: usage
                .prompt_eval_duration
                .or(first_token)
                .unwrap_or_default(),
            first_token,
            decode_tokens: usage.completion_tokens.saturating_sub(before),
            decode: usage.eval_duration.unwrap_or_else(|| {
                now.since(opened.sent_at)
                    .saturating_sub(first_token.unwrap_or_default())
            }),
        });
        opened.chosen.place.note(CapacityOutcome::Served);
        opened.chosen.replica.node.view.activity.progressed(now);
    }
}

/// Whose share of the fleet a caller uses.
fn tenant(principal: &Principal) -> Tenant {
    let user = match principal.kind {
        PrincipalKind::Anonymous => 0,
        PrincipalKind::Key(id) => id.as_uuid().as_u128(),
        PrincipalKind::User(id) => id.as_uuid().as_u128(),
    };
    Tenant {
        organisation: principal.org.as_uuid().as_u128(),
        user,
    }
}
