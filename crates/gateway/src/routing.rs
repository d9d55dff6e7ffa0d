//! Chooses the node for the next attempt of a request, and writes down why.
//!
//! Where nodes have room and nobody waits, this decides; otherwise the call waits and `admission` decides for it.

use std::sync::Arc;
use std::time::Duration;

use dialects::{ApiError, CONTEXT_EXCEEDED};
use primitives::ErrorKind;
use scheduling::{
    BreakerVerdict, Call, CallOutcome, Candidate, Decision, Exclusion, Health, Reason, Residency,
    exclusion,
};
use tokio::time::Instant;

use crate::admission::{self, Looks, Place};
use crate::exchange::Exchange;
use crate::fleet_view::Replica;
use crate::record::{AttemptRecord, CandidateRecord};
use crate::shared::Shared;
use crate::upstream::ability;
use crate::upstream::prepare::Wanted;

/// How soon a client may ask again when no node can serve a model now.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Expected answer length when the client set no limit: the median of public conversation traces.
pub(crate) const EXPECTED_COMPLETION: u32 = 256;

/// A node chosen for an attempt; its load counts from here on.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) replica: Arc<Replica>,
    pub(crate) place: Place,
}

/// Whether nodes that look bad count as candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Only nodes that look well.
    Choosy,
    /// Open breakers and failed probes are ignored: they may be out of date, and trying costs less than refusing.
    Desperate,
}

impl Mood {
    /// Shows a candidate as it looks in this mood.
    pub(crate) const fn of(self, seen: Candidate<'_>) -> Candidate<'_> {
        match self {
            Self::Choosy => seen,
            Self::Desperate => Candidate {
                breaker: BreakerVerdict::Allow,
                health: Health::Suspect,
                ..seen
            },
        }
    }

    /// Returns how candidates are looked at in this mood by a call that needs these tags.
    pub(crate) const fn looks(self, tags: &[String]) -> Looks<'_> {
        match self {
            Self::Choosy => Looks::Closely(tags),
            Self::Desperate => Looks::InPassing,
        }
    }
}

/// Chooses a replica of the exchange's model, waiting for one in the queue when all are busy; or says why none can be had.
///
/// When no node looks well, those that look bad are tried before the client is refused. A request waits for no node that cannot do
/// what it asks: before it waits, those are passed over.
pub(crate) async fn choose(exchange: &mut Exchange, wanted: &Wanted) -> Result<Chosen, ApiError> {
    if let Some(granted) = exchange.granted.take() {
        return Ok(*granted);
    }
    let deadline = Instant::now() + exchange.shared().config().first_token_timeout;
    let mut knows_who_can = false;
    loop {
        if exchange.turn.is_some() {
            exchange.renew_route();
        }
        let decision = match choose_now(exchange)? {
            Now::Start(chosen) => return Ok(chosen),
            Now::Wait(decision) => decision,
        };
        if !knows_who_can {
            knows_who_can = true;
            if ability::pass_over_unable(exchange, wanted)? {
                continue;
            }
        }
        if let Some(chosen) = admission::wait(exchange, deadline).await? {
            exchange.waits_again = false;
            note(exchange, &decision, &chosen.replica);
            return Ok(chosen);
        }
    }
}

/// What can be done at once.
enum Now {
    Start(Chosen),
    /// It must wait; the decision tells how the nodes looked.
    Wait(Decision),
}

fn choose_now(exchange: &mut Exchange) -> Result<Now, ApiError> {
    let shared = exchange.shared().clone();
    let route = exchange.route.clone();
    let mut refused = Vec::new();
    let mut mood = Mood::Choosy;
    // What spoke against the nodes before desperation overlooked it.
    let mut seen = None;
    loop {
        let now = shared.clock.monotonic();
        let call = Call {
            model: &route.name,
            prompt_tokens: exchange.asked.prompt_tokens,
            max_tokens: exchange.asked.max_tokens,
            num_ctx: exchange.asked.num_ctx,
            prefix: &exchange.asked.prefix,
            tags: &route.require_tags,
            now,
            random: exchange.worker.random(),
        };
        let mut candidates: Vec<Candidate<'_>> = route
            .replicas
            .iter()
            .enumerate()
            .map(|(index, replica)| {
                let excluded = if refused.contains(&index) {
                    Some(Exclusion::AlreadyTried)
                } else {
                    admission::excluded(
                        &exchange.passed_over,
                        exchange.asked.only,
                        replica.node.view.id,
                    )
                };
                mood.of(candidate(
                    &shared,
                    replica,
                    &call,
                    exchange.asked.embeds,
                    excluded,
                ))
            })
            .collect();
        shared.live.admission.describe(
            &route.replicas,
            mood.looks(call.tags),
            now,
            &mut candidates,
        );
        let decision = route.policy.choose(&call, &candidates);
        let chosen = decision.chosen.and_then(|index| {
            let full = candidates.get(index).is_some_and(|c| c.full);
            Some((index, route.replicas.get(index)?.clone(), full))
        });
        let Some((index, replica, full)) = chosen else {
            if mood == Mood::Choosy && candidates.iter().any(|c| looks_bad(&call, c)) {
                mood = Mood::Desperate;
                refused.clear();
                seen = Some(decision);
                continue;
            }
            let error = nothing_eligible(exchange, &call, &candidates);
            let record = attempt_record(exchange, seen.as_ref().unwrap_or(&decision), None);
            exchange.push_attempt(record);
            return Err(error);
        };
        drop(candidates);
        if full || exchange.waits_again {
            return Ok(Now::Wait(decision));
        }
        // Taking the breaker's permit can fail: another worker may have taken the only trial since the verdict.
        let permit = replica.live.breaker.lock().permit(now);
        if mood == Mood::Choosy && matches!(permit, BreakerVerdict::Refuse { .. }) {
            refused.push(index);
            continue;
        }
        let started = admission::start_now(exchange, &replica);
        let Ok(Some(chosen)) = started else {
            if matches!(permit, BreakerVerdict::Probe) {
                let mut breaker = replica.live.breaker.lock();
                breaker.record(CallOutcome::NotTheNode, now);
            }
            started?;
            return Ok(Now::Wait(decision));
        };
        note(exchange, &decision, &replica);
        return Ok(Now::Start(chosen));
    }
}

/// Writes down which node is asked, and what for.
fn note(exchange: &mut Exchange, decision: &Decision, replica: &Arc<Replica>) {
    if !exchange.asked.prefix.is_empty() {
        exchange
            .shared()
            .live
            .prefixes
            .lock()
            .insert(replica.node.view.id, &exchange.asked.prefix);
    }
    let record = attempt_record(exchange, decision, Some(replica));
    exchange.push_attempt(record);
    exchange.standing.lock().node = Some(replica.node.view.name.clone());
    exchange.replica = Some(replica.clone());
}

/// Tells whether only its looks speak against a candidate.
fn looks_bad(call: &Call<'_>, candidate: &Candidate<'_>) -> bool {
    matches!(
        exclusion(call, candidate),
        Some(Exclusion::BreakerOpen { .. } | Exclusion::Unhealthy)
    )
}

/// Describes a replica, but for what the admission counts.
pub(crate) fn candidate<'a>(
    shared: &Shared,
    replica: &'a Replica,
    call: &Call<'_>,
    embeds: bool,
    excluded: Option<Exclusion>,
) -> Candidate<'a> {
    let view = &replica.node.view;
    let speed = replica.live.speed.lock();
    let prefix_blocks = if call.prefix.is_empty() {
        0
    } else {
        shared
            .live
            .prefixes
            .lock()
            .leading_hits(view.id, call.prefix)
    };
    Candidate {
        residency: seen_residency(replica.residency, call.num_ctx),
        in_flight: view.activity.in_flight(),
        queued_tokens: view.activity.queued_tokens(),
        slots: view.slots,
        decode_tokens_per_s: speed.decode_tokens_per_s(),
        prefill_tokens_per_s: speed.prefill_tokens_per_s(),
        ttft_ewma_ms: speed.ttft_ms(),
        late_ms: view.activity.late_ms(call.now),
        prefix_blocks,
        // The texts of a batch do not share a context, and servers cut what is too long unless told not to.
        context_max: replica.model.context_length.filter(|_| !embeds),
        model_bytes: replica.model.size_bytes,
        weight: view.weight,
        health: view.health,
        breaker: replica.live.breaker.lock().verdict(call.now),
        draining: view.draining,
        tags: &view.tags,
        excluded,
        ..Candidate::new(view.id, &view.name)
    }
}

/// Shows how a call finds a model: a smaller context than the loaded one is not asked for, so it costs nothing.
fn seen_residency(residency: Residency, asked: Option<u32>) -> Residency {
    match (residency, asked) {
        (
            Residency::Loaded {
                context: Some(loaded),
            },
            Some(asked),
        ) if asked <= loaded => Residency::Loaded {
            context: Some(asked),
        },
        _ => residency,
    }
}

fn attempt_record(
    exchange: &Exchange,
    decision: &Decision,
    chosen: Option<&Arc<Replica>>,
) -> AttemptRecord {
    // Kept for as long as the request runs: no more room than it needs.
    let mut candidates = Vec::with_capacity(decision.scored.len());
    candidates.extend(decision.scored.iter().filter_map(|scored| {
        let replica = exchange.route.replicas.get(scored.index)?;
        Some(CandidateRecord {
            node: replica.node.view.name.clone(),
            score: (!scored.is_excluded()).then_some(scored.score),
            reasons: scored.reasons.to_vec(),
        })
    }));
    AttemptRecord {
        node: chosen.map(|r| r.node.view.name.clone()),
        model: exchange.route.name.clone(),
        path: None,
        started_us: exchange.elapsed_us(),
        took_us: None,
        failure: None,
        continued_after_tokens: exchange.continued_after,
        joined: exchange.joined,
        candidates,
    }
}

/// Says why no candidate can serve the call, in the kind of error that fits.
fn nothing_eligible(
    exchange: &Exchange,
    call: &Call<'_>,
    candidates: &[Candidate<'_>],
) -> ApiError {
    let exclusions: Vec<(&str, Exclusion)> = candidates
        .iter()
        .filter_map(|c| Some((c.name, exclusion(call, c)?)))
        .collect();
    if let Some(why) = &exchange.last_failure
        && exclusions.iter().all(|(_, e)| *e == Exclusion::Unsupported)
    {
        return ApiError::clone(why);
    }
    let largest = exclusions
        .iter()
        .filter_map(|(_, e)| match e {
            Exclusion::OverContext { context, .. } => Some(*context),
            _ => None,
        })
        .max();
    if let Some(context) = largest
        && exclusions
            .iter()
            .all(|(_, e)| matches!(e, Exclusion::OverContext { .. }))
    {
        return ApiError::new(
            ErrorKind::Invalid,
            format!(
                "the prompt has about {} tokens and the largest context for {} is {context}: shorten it",
                call.prompt_tokens, exchange.route.name
            ),
        )
        .with_code(CONTEXT_EXCEEDED);
    }
    let wait = exclusions
        .iter()
        .filter_map(|(_, e)| match e {
            Exclusion::BreakerOpen { retry_in, .. } => Some(*retry_in),
            _ => None,
        })
        .min()
        .unwrap_or(RETRY_AFTER);
    let why = exclusions
        .iter()
        .take(8)
        .map(|(name, e)| format!("{name}: {}", Reason::Excluded(*e)))
        .collect::<Vec<_>>()
        .join("; ");
    ApiError::new(
        ErrorKind::Unavailable,
        format!(
            "no node can serve {} now ({why}): try again soon",
            exchange.route.name
        ),
    )
    .with_retry_after(wait.max(Duration::from_secs(1)))
}
