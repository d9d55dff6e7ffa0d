//! Chooses the node for the next attempt of a request, and writes down why.

use std::sync::Arc;
use std::time::Duration;

use cluster::InFlight;
use dialects::ApiError;
use primitives::ErrorKind;
use scheduling::{BreakerVerdict, Call, Candidate, Decision, Exclusion, Health, Reason, exclusion};

use crate::exchange::Exchange;
use crate::fleet_view::Replica;
use crate::record::{AttemptRecord, CandidateRecord};

/// How soon a client may ask again when no node can serve a model now.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Expected answer length when the client set no limit: the median of public conversation traces.
const EXPECTED_COMPLETION: u32 = 256;

/// A node chosen for an attempt; its load counts from here on.
pub(crate) struct Chosen {
    pub(crate) replica: Arc<Replica>,
    _lease: InFlight,
}

/// Whether nodes that look bad count as candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// Only nodes that look well.
    Choosy,
    /// Open breakers and failed probes are ignored: they may be out of date, and trying costs less than refusing.
    Desperate,
}

/// Chooses a replica of the exchange's model, or says why none can be had.
///
/// When no node looks well, those that look bad are tried before the client is refused.
pub(crate) fn choose(exchange: &mut Exchange) -> Result<Chosen, ApiError> {
    let shared = exchange.shared().clone();
    let route = exchange.route.clone();
    let mut refused = Vec::new();
    let mut mood = Mood::Choosy;
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
        let candidates: Vec<Candidate<'_>> = route
            .replicas
            .iter()
            .enumerate()
            .map(|(index, replica)| {
                let excluded = (exchange.tried.contains(&replica.node.view.id)
                    || refused.contains(&index))
                .then_some(Exclusion::AlreadyTried);
                let seen = candidate(exchange, replica, &call, excluded);
                match mood {
                    Mood::Choosy => seen,
                    Mood::Desperate => Candidate {
                        breaker: BreakerVerdict::Allow,
                        health: Health::Suspect,
                        ..seen
                    },
                }
            })
            .collect();
        let decision = route.policy.choose(&call, &candidates);
        let chosen = decision
            .chosen
            .and_then(|index| Some((index, route.replicas.get(index)?.clone())));
        let Some((index, replica)) = chosen else {
            if mood == Mood::Choosy && candidates.iter().any(|c| looks_bad(&call, c)) {
                mood = Mood::Desperate;
                refused.clear();
                continue;
            }
            let error = nothing_eligible(exchange, &call, &candidates);
            let record = attempt_record(exchange, &decision, None);
            exchange.push_attempt(record);
            return Err(error);
        };
        // Taking the breaker's permit can fail: another worker may have taken the only trial since the verdict.
        let permit = replica.live.breaker.lock().permit(now);
        if mood == Mood::Choosy && matches!(permit, BreakerVerdict::Refuse { .. }) {
            refused.push(index);
            continue;
        }
        if !exchange.asked.prefix.is_empty() {
            shared
                .live
                .prefixes
                .lock()
                .insert(replica.node.view.id, &exchange.asked.prefix);
        }
        let tokens = u64::from(exchange.asked.prompt_tokens)
            + u64::from(exchange.asked.max_tokens.unwrap_or(EXPECTED_COMPLETION));
        let lease = replica.node.view.activity.begin(tokens);
        let record = attempt_record(exchange, &decision, Some(&replica));
        exchange.push_attempt(record);
        *exchange.node_name.lock() = Some(replica.node.view.name.clone());
        exchange.replica = Some(replica.clone());
        return Ok(Chosen {
            replica,
            _lease: lease,
        });
    }
}

/// Tells whether only its looks speak against a candidate.
fn looks_bad(call: &Call<'_>, candidate: &Candidate<'_>) -> bool {
    matches!(
        exclusion(call, candidate),
        Some(Exclusion::BreakerOpen { .. } | Exclusion::Unhealthy)
    )
}

fn candidate<'a>(
    exchange: &Exchange,
    replica: &'a Replica,
    call: &Call<'_>,
    excluded: Option<Exclusion>,
) -> Candidate<'a> {
    let view = &replica.node.view;
    let speed = replica.live.speed.lock();
    let prefix_blocks = if call.prefix.is_empty() {
        0
    } else {
        exchange
            .shared()
            .live
            .prefixes
            .lock()
            .leading_hits(view.id, call.prefix)
    };
    Candidate {
        residency: replica.residency,
        in_flight: view.activity.in_flight(),
        queued_tokens: view.activity.queued_tokens(),
        slots: view.slots,
        max_in_flight: view.max_in_flight,
        decode_tokens_per_s: speed.decode_tokens_per_s(),
        prefill_tokens_per_s: speed.prefill_tokens_per_s(),
        ttft_ewma_ms: speed.ttft_ms(),
        prefix_blocks,
        context_max: replica.model.context_length,
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

fn attempt_record(
    exchange: &Exchange,
    decision: &Decision,
    chosen: Option<&Arc<Replica>>,
) -> AttemptRecord {
    let candidates = decision
        .scored
        .iter()
        .filter_map(|scored| {
            let replica = exchange.route.replicas.get(scored.index)?;
            Some(CandidateRecord {
                node: replica.node.view.name.clone(),
                score: (!scored.is_excluded()).then_some(scored.score),
                reasons: scored.reasons.to_vec(),
            })
        })
        .collect();
    AttemptRecord {
        node: chosen.map(|r| r.node.view.name.clone()),
        model: exchange.route.name.clone(),
        started_us: exchange.elapsed_us(),
        took_us: None,
        failure: None,
        continued_after_tokens: exchange.continued_after,
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
        .with_code("context_length_exceeded");
    }
    let full = !exclusions.is_empty()
        && exclusions
            .iter()
            .all(|(_, e)| matches!(e, Exclusion::AtCapacity { .. }));
    let wait = exclusions
        .iter()
        .filter_map(|(_, e)| match e {
            Exclusion::BreakerOpen { retry_in, .. } => Some(*retry_in),
            _ => None,
        })
        .min()
        .unwrap_or(if full {
            Duration::from_secs(1)
        } else {
            RETRY_AFTER
        });
    let why = exclusions
        .iter()
        .take(8)
        .map(|(name, e)| format!("{name}: {}", Reason::Excluded(*e)))
        .collect::<Vec<_>>()
        .join("; ");
    let kind = if full {
        ErrorKind::TooMany
    } else {
        ErrorKind::Unavailable
    };
    ApiError::new(
        kind,
        format!(
            "no node can serve {} now ({why}): try again soon",
            exchange.route.name
        ),
    )
    .with_retry_after(wait.max(Duration::from_secs(1)))
}
