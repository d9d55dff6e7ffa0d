//! How a request ends: its metrics and its record, from which its line in the log is written.

use std::sync::Arc;

use dialects::{ApiError, Usage};
use primitives::ErrorKind;
use scheduling::queue::token_cost;

use super::{Closing, Exchange, Role};
use crate::record::{Outcome, RECORDED_ERROR, RECORDED_NAME, RequestRecord};
use crate::relay::outcome_of;

impl Exchange {
    /// Ends the request with an error that came before anything was sent.
    pub(crate) fn refuse(&mut self, error: &ApiError) {
        self.end(
            outcome_of(error),
            error.kind.status(),
            Usage::default(),
            Some(error),
        );
    }

    /// Ends the request: books metrics, hands the record over.
    pub(crate) fn end(
        &mut self,
        outcome: Outcome,
        status: u16,
        usage: Usage,
        error: Option<&ApiError>,
    ) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.closing = Some(Box::new(Closing {
            outcome,
            status,
            usage,
            error: error.cloned(),
        }));
        let shared = self.worker.shared.clone();
        let total_us = self.elapsed_us();
        let now = shared.clock.monotonic();
        let queue_us = self
            .standing
            .lock()
            .queued
            .map_or(0, |queued| queued.time(now).as_micros() as u64);
        // Who leaves before the node has counted has used its prompt at least, if a node was asked.
        let prompt_tokens = usage.prompt_tokens.max(match (outcome, &self.replica) {
            (Outcome::Cancelled, Some(_)) => u64::from(self.asked.prompt_tokens),
            _ => 0,
        });
        if let Some(turn) = self.turn.take() {
            turn.end(token_cost(
                prompt_tokens,
                usage.completion_tokens,
                self.route.cost,
            ));
        }
        if let Some(reservation) = self.reservation.take() {
            // An answer that was made for somebody else costs its reader nothing.
            let used = match self.role {
                Role::Follower => 0,
                Role::Request | Role::Errand => prompt_tokens + usage.completion_tokens,
            };
            reservation.settle(used);
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt
                .took_us
                .get_or_insert(total_us.saturating_sub(attempt.started_us));
        }
        if self.role == Role::Errand {
            return;
        }
        let first_token_us = self
            .first_token
            .map(|at| at.since(self.arrived).as_micros() as u64);
        shared
            .metrics
            .operation(self.operation.as_str(), outcome)
            .inc();
        if let Some(replica) = &self.replica {
            let made = if self.role == Role::Follower {
                Usage::default()
            } else {
                usage
            };
            replica.live.series.book(
                outcome,
                first_token_us,
                total_us,
                made.prompt_tokens,
                made.completion_tokens,
            );
        }
        let record = RequestRecord {
            id: self.id,
            received_at: self.received_at,
            caller: self.caller.clone(),
            caller_name: self.caller_name.clone(),
            owner: self.owner,
            client_address: self.client,
            dialect: self.operation.dialect().as_str(),
            operation: self.operation.as_str(),
            requested_model: self.requested_model(),
            model: Some(clip_name(&self.route.name)),
            node: self
                .replica
                .as_ref()
                .map(|r| (r.node.view.id, r.node.view.name.clone())),
            status,
            outcome,
            error: error.map(|e| clip(&e.message, RECORDED_ERROR)),
            stream: self.asked.stream,
            continued: self.continued,
            retries: self.retries,
            queue_us,
            first_token_us,
            total_us,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            policy: self.policy,
            split: self.split.take(),
            attempts: std::mem::take(&mut self.attempts),
        };
        shared.recorder.submit(record);
    }
}

impl Exchange {
    /// Returns the model as the client wrote it, cut; without a copy where it is written as the fleet writes it.
    fn requested_model(&self) -> Arc<str> {
        if *self.asked.model == *self.route.name {
            clip_name(&self.route.name)
        } else {
            clip(&self.asked.model, RECORDED_NAME).into()
        }
    }
}

impl Exchange {
    /// Ends a request whose answer nobody reads any more.
    pub(crate) fn abandon(&mut self, usage: Usage) {
        if self.ended {
            return;
        }
        if let Some(error) = self.standing.stopped_with() {
            self.note_failure(&error.message);
            let (outcome, status) = (outcome_of(&error), error.kind.status());
            self.end(outcome, status, usage, Some(&error));
        } else {
            self.note_failure("the client went away");
            let status = ErrorKind::Cancelled.status();
            self.end(Outcome::Cancelled, status, usage, None);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.abandon(Usage::default());
    }
}

/// Returns a name as records keep it; without a copy unless it must be cut.
fn clip_name(name: &Arc<str>) -> Arc<str> {
    if name.len() <= RECORDED_NAME {
        name.clone()
    } else {
        clip(name, RECORDED_NAME).into()
    }
}

/// Cuts a text that came from outside to at most `limit` characters.
pub(crate) fn clip(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}
