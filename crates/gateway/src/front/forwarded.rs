//! The bookkeeping of a forwarded request: its place among those under way, its metrics and its record.
//!
//! Nobody here can read what such a request asks for or what its answer says, so that it has no tokens; all else is told of it as of any other.

use std::io;
use std::sync::Arc;

use dialects::{ApiError, Dialect};
use identity::{Principal, PriorityClass};
use primitives::{ErrorKind, MonotonicTime, Timestamp};
use scheduling::Reason;

use super::inference::class_of;
use super::{Visit, turned_away};
use crate::exchange::clip;
use crate::fleet_view::{Found, Replica};
use crate::record::{
    AttemptRecord, Caller, CandidateRecord, Outcome, RECORDED_ERROR, RECORDED_NAME, RecordOwner,
    RequestRecord,
};
use crate::relay::outcome_of;
use crate::shared::{InFlight, Worker};
use crate::under_way::{self, UnderWay};
use crate::upstream::ResponseHead;

/// How nodes are chosen: the one with the fewest requests under way.
const POLICY: &str = "least_load";

/// Names the operation in records, metrics and log lines: the routes themselves are as many as clients make up.
const fn operation(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Ollama => "ollama_other",
        Dialect::OpenAi => "openai_other",
        Dialect::Anthropic => "anthropic_other",
    }
}

/// Notes a request that ended before it had a model.
pub(super) fn turn_away(visit: &Visit<'_>, error: &ApiError) {
    let operation = operation(visit.dialect);
    turned_away(visit.worker, visit.id, visit.peer.ip(), operation, error);
}

/// A forwarded request from its arrival to its record. Dropped before its end it is booked as cancelled.
pub(super) struct Forwarded {
    worker: Arc<Worker>,
    /// Taken when it ends.
    record: Option<Box<RequestRecord>>,
    arrived: MonotonicTime,
    replica: Option<Arc<Replica>>,
    under_way: Arc<UnderWay>,
    _in_flight: InFlight,
}

impl Forwarded {
    /// Begins the bookkeeping of a request for a model; without `found` there is none of that name for its caller.
    pub(super) fn begin(
        visit: &Visit<'_>,
        principal: &Principal,
        mut in_flight: InFlight,
        model: &str,
        found: Option<&Found>,
        (received_at, arrived): (Timestamp, MonotonicTime),
    ) -> Self {
        let requested_model: Arc<str> = clip(model, RECORDED_NAME).into();
        let operation = operation(visit.dialect);
        let model = found.map(|found| Arc::clone(&found.route.name));
        let under_way = UnderWay::new(under_way::Facts {
            id: visit.id,
            dialect: visit.dialect,
            operation,
            model: model.clone().unwrap_or_else(|| requested_model.clone()),
            caller: principal.name.clone(),
            organisation: principal.org,
            class: class_of(principal, PriorityClass::Default),
            stream: false,
            received_at,
        });
        in_flight.list(&under_way);
        let record = RequestRecord {
            id: visit.id,
            received_at,
            caller: Caller::of(principal),
            caller_name: principal.name.clone(),
            owner: RecordOwner::of(principal),
            client_address: visit.peer.ip(),
            dialect: visit.dialect.as_str(),
            operation,
            requested_model,
            model,
            node: None,
            status: 0,
            outcome: Outcome::Cancelled,
            error: None,
            stream: false,
            continued: 0,
            retries: 0,
            queue_us: 0,
            first_token_us: None,
            total_us: 0,
            prompt_tokens: 0,
            completion_tokens: 0,
            policy: POLICY,
            split: found.and_then(|found| found.split.clone()),
            attempts: Vec::new(),
        };
        Self {
            worker: Arc::clone(visit.worker),
            record: Some(Box::new(record)),
            arrived,
            replica: None,
            under_way,
            _in_flight: in_flight,
        }
    }

    /// Returns its place among the requests under way, where it can be stopped.
    pub(super) fn under_way(&self) -> Arc<UnderWay> {
        Arc::clone(&self.under_way)
    }

    /// Returns the node that answers.
    pub(super) fn node(&self) -> Option<Arc<str>> {
        let replica = self.replica.as_ref();
        replica.map(|replica| Arc::clone(&replica.node.view.name))
    }

    /// Returns the model that answers when it is not the one that was written: an alias or a fallback.
    pub(super) fn other_model(&self, asked: &str) -> Option<Arc<str>> {
        let model = self.record.as_ref()?.model.clone();
        model.filter(|model| cluster::model_key(asked) != **model)
    }

    /// Notes that a node is asked, the first of those that are left.
    pub(super) fn tries(&mut self, replica: &Arc<Replica>, left: &[&Arc<Replica>], path: &str) {
        let started_us = self.elapsed_us();
        let view = &replica.node.view;
        self.under_way.lock().node = Some(Arc::clone(&view.name));
        self.replica = Some(Arc::clone(replica));
        let Some(record) = &mut self.record else {
            return;
        };
        record.node = Some((view.id, Arc::clone(&view.name)));
        let candidates = left.iter().map(|candidate| {
            let in_flight = candidate.node.view.activity.in_flight();
            CandidateRecord {
                node: Arc::clone(&candidate.node.view.name),
                score: Some(0.0 - in_flight as f32),
                reasons: vec![Reason::InFlight {
                    in_flight,
                    slots: None,
                }],
            }
        });
        record.attempts.push(AttemptRecord {
            node: Some(Arc::clone(&view.name)),
            model: Arc::clone(&replica.model.name),
            path: Some(path.into()),
            started_us,
            took_us: None,
            failure: None,
            continued_after_tokens: 0,
            joined: None,
            candidates: candidates.collect(),
        });
    }

    /// Notes that another node is asked because the last one could not be reached.
    pub(super) fn retries(&mut self) {
        if let Some(record) = &mut self.record {
            record.retries += 1;
        }
    }

    /// Notes how the last try went wrong.
    pub(super) fn note_failure(&mut self, why: &str) {
        let now = self.elapsed_us();
        let attempt = self.record.as_mut().and_then(|r| r.attempts.last_mut());
        if let Some(attempt) = attempt {
            attempt.failure = Some(clip(why, RECORDED_ERROR));
            attempt.took_us = Some(now.saturating_sub(attempt.started_us));
        }
    }

    /// Notes the head of the node's answer.
    pub(super) fn answers(&mut self, head: &ResponseHead) {
        self.under_way.begin();
        if let Some(record) = &mut self.record {
            record.status = head.status.as_u16();
            record.stream = head.is_stream();
        }
    }

    /// Notes that a part of the answer is here.
    pub(super) fn goes_on(&mut self) {
        let now = self.elapsed_us();
        if let Some(record) = &mut self.record {
            record.first_token_us.get_or_insert(now);
        }
    }

    /// Ends it with a whole answer.
    pub(super) fn ends(&mut self) {
        let status = self.record.as_ref().map_or(0, |record| record.status);
        let outcome = match status {
            0..400 => Outcome::Ok,
            400..500 => Outcome::ClientError,
            500.. => Outcome::Failed,
        };
        self.end(outcome, status, None);
    }

    /// Ends it in the middle of the answer.
    pub(super) fn breaks_off(&mut self, error: &io::Error) {
        let status = self.record.as_ref().map_or(0, |record| record.status);
        self.note_failure(&error.to_string());
        self.end(Outcome::Truncated, status, Some(&error.to_string()));
    }

    /// Ends it with an error that came before anything was sent.
    pub(super) fn refuse(&mut self, error: &ApiError) {
        self.end(outcome_of(error), error.kind.status(), Some(&error.message));
    }

    fn end(&mut self, outcome: Outcome, status: u16, error: Option<&str>) {
        let total_us = self.elapsed_us();
        let Some(mut record) = self.record.take() else {
            return;
        };
        record.outcome = outcome;
        record.status = status;
        record.error = error.map(|text| clip(text, RECORDED_ERROR));
        record.total_us = total_us;
        if let Some(attempt) = record.attempts.last_mut() {
            attempt
                .took_us
                .get_or_insert(total_us.saturating_sub(attempt.started_us));
        }
        let shared = &self.worker.shared;
        shared.metrics.operation(record.operation, outcome).inc();
        if let Some(replica) = &self.replica {
            let series = &replica.live.series;
            series.book(outcome, record.first_token_us, total_us, 0, 0);
        }
        shared.recorder.submit(*record);
    }

    fn elapsed_us(&self) -> u64 {
        let now = self.worker.shared.clock.monotonic();
        now.since(self.arrived).as_micros() as u64
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        if self.record.is_none() {
            return;
        }
        if let Some(error) = self.under_way().stopped_with() {
            self.refuse(&error);
        } else {
            self.note_failure("the client went away");
            self.end(Outcome::Cancelled, ErrorKind::Cancelled.status(), None);
        }
    }
}
