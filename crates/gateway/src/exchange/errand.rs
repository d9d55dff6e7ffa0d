//! Calls that belong to no single request: one for several requests, or a part of one. They have an exchange of their own, which
//! routes, retries and learns like any other but is not booked; what happened goes into the records of the requests.

use std::sync::Arc;

use bytes::Bytes;
use dialects::{ApiError, Usage};
use primitives::MonotonicTime;

use super::{Exchange, FIRST_ROUNDS, Role};
use crate::body_memory::{BodyShare, RequestBody};
use crate::fleet_view::Replica;
use crate::record::{AttemptRecord, JoinedRecord, Outcome};
use crate::routing::Chosen;

/// What the requests that an errand was for must know of it.
#[derive(Debug)]
pub(crate) struct Report {
    attempts: Vec<AttemptRecord>,
    /// Since when the attempts' times count.
    arrived: MonotonicTime,
    replica: Option<Arc<Replica>>,
    retries: u32,
    continued: u32,
    joined: Option<JoinedRecord>,
    /// How the errand ended, once it has.
    pub(crate) closing: Option<Box<Closing>>,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    pub(crate) outcome: Outcome,
    pub(crate) status: u16,
    pub(crate) usage: Usage,
    pub(crate) error: Option<ApiError>,
}

impl Exchange {
    /// Makes an exchange for a call on behalf of this request.
    pub(crate) fn errand(&self) -> Box<Self> {
        Box::new(Self {
            worker: self.worker.clone(),
            id: self.id,
            operation: self.operation,
            // The requests hold the room for what they sent.
            body: RequestBody::new(
                Bytes::clone(&self.body),
                BodyShare::new(&self.shared().body_rules.memory),
            ),
            asked: self.asked.clone(),
            route: self.route.clone(),
            replica: None,
            standing: self.standing.errand(),
            turn: None,
            waits_again: false,
            class: self.class,
            tenant: self.tenant,
            passed_over: Vec::new(),
            tries: 0,
            retries_after: None,
            lost_connections: false,
            last_failure: None,
            rounds_left: FIRST_ROUNDS,
            attempts: Vec::with_capacity(1),
            retries: 0,
            continued: 0,
            split: None,
            policy: self.policy,
            continued_after: 0,
            traceparent: self.traceparent.clone(),
            hops: self.hops.clone(),
            canonical: None,
            caller: self.caller.clone(),
            caller_name: self.caller_name.clone(),
            owner: self.owner,
            client: self.client,
            received_at: self.received_at,
            arrived: self.arrived,
            first_token: None,
            ended: false,
            granted: None,
            joined: None,
            parts: 0,
            role: Role::Errand,
            reservation: None,
            closing: None,
            _in_flight: None,
        })
    }

    /// Takes over the place and the turn that `request` has got for this errand, and the decision behind them.
    pub(crate) fn lead(&mut self, request: &mut Self, chosen: Chosen) {
        self.turn = request.turn.take();
        self.replica.clone_from(&request.replica);
        self.attempts = std::mem::take(&mut request.attempts);
        self.standing
            .lock()
            .node
            .clone_from(&request.standing.lock().node);
        self.granted = Some(Box::new(chosen));
    }

    /// Takes over what was reserved for `request`: the errand's use is counted in its place.
    pub(crate) fn take_reservation(&mut self, request: &mut Self) {
        self.reservation = request.reservation.take();
    }

    /// Notes for how many requests the errand is.
    pub(crate) fn note_joined(&mut self, joined: JoinedRecord) {
        self.joined = Some(joined);
        if let Some(turn) = &self.turn {
            turn.keep_place();
        }
        for attempt in &mut self.attempts {
            attempt.joined = Some(joined);
        }
    }

    /// Tells what the errand came to so far.
    pub(crate) fn report(&self) -> Arc<Report> {
        Arc::new(Report {
            attempts: self.attempts.clone(),
            arrived: self.arrived,
            replica: self.replica.clone(),
            retries: self.retries,
            continued: self.continued,
            joined: self.joined,
            closing: self.closing.clone(),
        })
    }

    /// Takes over what an errand for this request came to.
    pub(crate) fn adopt(&mut self, report: &Report) {
        for attempt in &report.attempts {
            let started_us = (report.arrived.as_micros() + attempt.started_us)
                .saturating_sub(self.arrived.as_micros());
            self.push_attempt(AttemptRecord {
                started_us,
                ..attempt.clone()
            });
        }
        self.retries += report.retries;
        self.continued += report.continued;
        self.joined = report.joined;
        if let Some(replica) = &report.replica {
            self.standing.lock().node = Some(replica.node.view.name.clone());
            self.replica = Some(replica.clone());
        }
    }

    /// Takes over what the execution that it shares came to; `another` when that was another request's.
    pub(crate) fn follow(&mut self, report: &Report, another: bool) {
        self.adopt(report);
        if another {
            self.role = Role::Follower;
        }
    }
}
