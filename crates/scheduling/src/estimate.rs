//! How long a call would take at a candidate: the arithmetic behind the default policy, with its assumptions in one place.

use crate::call::{Call, Candidate, Residency};
use crate::liveness::Health;
use crate::reason::{Reason, Reasons};

/// What is assumed until something is learned. Middle-of-the-road values: a mid-size model on one consumer GPU.
#[derive(Clone, Copy, Debug)]
pub struct Priors;

impl Priors {
    /// Requests a node works on at the same time.
    pub const SLOTS: u32 = 4;
    /// Tokens per second generated in one stream.
    pub const DECODE_TOKENS_PER_S: f32 = 30.0;
    /// Prompt tokens read per second.
    pub const PREFILL_TOKENS_PER_S: f32 = 1_000.0;
    /// Tokens an answer has when the client sets no limit.
    pub const OUTPUT_TOKENS: u32 = 256;
    /// Tokens every request in flight still costs at least, whatever the bookkeeping says.
    pub const TOKENS_PER_REQUEST: u64 = 128;
    /// Bytes of a model loaded per second.
    pub const LOAD_BYTES_PER_S: f32 = 1.0e9;
    /// Seconds that loading takes beyond reading the bytes.
    pub const LOAD_FIXED_S: f32 = 2.0;
    /// Seconds that loading a model of unknown size takes.
    pub const LOAD_UNKNOWN_S: f32 = 10.0;
}

/// Milliseconds that every call costs before any work: connection, parsing, first scheduling round.
const OVERHEAD_MS: f32 = 10.0;
/// How much a full node slows down each of its streams: at all slots busy a stream runs at 1/1.5 of its speed.
const BATCHING_SLOWDOWN: f32 = 0.5;
/// What doubt costs: a suspect node is chosen only when the others are much worse.
const SUSPECT_MS: f32 = 5_000.0;
/// What a prompt that probably does not fit costs.
const TIGHT_CONTEXT_MS: f32 = 60_000.0;
/// How much the time after the first token counts, compared with the time before it.
const DECODE_SHARE: f32 = 0.5;

/// The speeds assumed for candidates that have none learned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assumed {
    decode: f32,
    prefill: f32,
}

impl Assumed {
    /// Takes the best learned speeds among the candidates, at least the priors: who is unknown is taken to be as good as
    /// the best, and so gets tried.
    pub(crate) fn best_of(candidates: &[Candidate<'_>]) -> Self {
        let prior = Self {
            decode: Priors::DECODE_TOKENS_PER_S,
            prefill: Priors::PREFILL_TOKENS_PER_S,
        };
        candidates.iter().fold(prior, |best, candidate| Self {
            decode: usable(candidate.decode_tokens_per_s)
                .map_or(best.decode, |s| s.max(best.decode)),
            prefill: usable(candidate.prefill_tokens_per_s)
                .map_or(best.prefill, |s| s.max(best.prefill)),
        })
    }
}

/// Drops speeds that no arithmetic survives.
fn usable(speed: Option<f32>) -> Option<f32> {
    speed
        .filter(|s| s.is_finite() && *s > 0.0)
        .map(|s| s.clamp(0.01, 1.0e7))
}

/// The expected times of one call at one candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Milliseconds to the first token.
    pub first_token_ms: f32,
    /// Milliseconds to the last token.
    pub finish_ms: f32,
    /// What the policy minimises: the wait for the first token, half of the time after it, and penalties for doubt.
    pub cost_ms: f32,
}

impl Estimate {
    /// Estimates `call` at `candidate` and notes what it went by. More load never makes any of the times smaller.
    pub(crate) fn of(
        call: &Call<'_>,
        candidate: &Candidate<'_>,
        assumed: Assumed,
        reasons: &mut Reasons,
    ) -> Self {
        let load_ms = loading_ms(call, candidate, reasons);
        reasons.push(Reason::InFlight {
            in_flight: candidate.in_flight,
            slots: candidate.slots,
        });

        let learned = usable(candidate.decode_tokens_per_s);
        let decode = learned.unwrap_or(assumed.decode);
        reasons.push(match learned {
            Some(decode) => Reason::SpeedLearned { decode },
            None => Reason::SpeedAssumed { decode },
        });

        let wait_ms = waiting_ms(candidate, decode);
        if wait_ms >= 1.0 {
            reasons.push(Reason::WorkAhead { wait_ms });
        }
        let prefill_ms = prefill_ms(call, candidate, assumed, reasons);
        let first_token_ms = OVERHEAD_MS + load_ms + wait_ms + prefill_ms;

        let slots = slots(candidate);
        let occupancy = (candidate.in_flight as f32).min(slots) / slots;
        let output = call
            .max_tokens
            .map_or(Priors::OUTPUT_TOKENS, |max| max.min(Priors::OUTPUT_TOKENS));
        let decode_ms = output as f32 * 1_000.0 * (1.0 + BATCHING_SLOWDOWN * occupancy) / decode;

        let mut penalty_ms = 0.0;
        if let Some(context) = candidate.context_max
            && call.prompt_tokens > context
        {
            penalty_ms += TIGHT_CONTEXT_MS;
            reasons.push(Reason::ContextTight {
                prompt: call.prompt_tokens,
                context,
            });
        }
        if candidate.health == Health::Suspect {
            penalty_ms += SUSPECT_MS;
            reasons.push(Reason::Suspect);
        }
        Self {
            first_token_ms,
            finish_ms: first_token_ms + decode_ms,
            cost_ms: first_token_ms + DECODE_SHARE * decode_ms + penalty_ms,
        }
    }
}

fn slots(candidate: &Candidate<'_>) -> f32 {
    candidate.slots.unwrap_or(Priors::SLOTS).max(1) as f32
}

fn loading_ms(call: &Call<'_>, candidate: &Candidate<'_>, reasons: &mut Reasons) -> f32 {
    let seconds = candidate
        .model_bytes
        .map_or(Priors::LOAD_UNKNOWN_S, |bytes| {
            Priors::LOAD_FIXED_S + bytes as f32 / Priors::LOAD_BYTES_PER_S
        });
    match (candidate.residency, call.num_ctx) {
        // A server that is asked for another context than the loaded one loads the model again, larger or smaller.
        (
            Residency::Loaded {
                context: Some(loaded),
            },
            Some(asked),
        ) if loaded != asked => {
            reasons.push(Reason::Reload { loaded, asked });
            seconds * 1_000.0
        }
        (Residency::Loaded { context }, _) => {
            reasons.push(Reason::Loaded { context });
            0.0
        }
        (Residency::OnDisk, _) => {
            reasons.push(Reason::ColdLoad { seconds });
            seconds * 1_000.0
        }
        (Residency::Unknown, _) => {
            reasons.push(Reason::ResidencyUnknown);
            0.0
        }
    }
}

/// How long the requests in front hold every slot: with free slots nothing waits.
fn waiting_ms(candidate: &Candidate<'_>, decode: f32) -> f32 {
    let slots = slots(candidate);
    let in_line = candidate.in_flight as f32 + 1.0;
    let share_before_a_slot_frees = ((in_line - slots) / in_line).max(0.0);
    let backlog = candidate
        .queued_tokens
        .max(u64::from(candidate.in_flight) * Priors::TOKENS_PER_REQUEST) as f32;
    1_000.0 * backlog * share_before_a_slot_frees / (decode * slots)
}

fn prefill_ms(
    call: &Call<'_>,
    candidate: &Candidate<'_>,
    assumed: Assumed,
    reasons: &mut Reasons,
) -> f32 {
    let blocks = call.prefix.len() as u32;
    let warm = candidate.prefix_blocks.min(blocks);
    let cold_share = if warm == 0 || candidate.residency == Residency::OnDisk {
        1.0
    } else {
        reasons.push(Reason::PrefixWarm { blocks: warm });
        1.0 - warm as f32 / blocks as f32
    };
    match (
        usable(candidate.prefill_tokens_per_s),
        candidate
            .ttft_ewma_ms
            .filter(|ms| ms.is_finite() && *ms >= 0.0),
    ) {
        (Some(speed), _) => 1_000.0 * call.prompt_tokens as f32 * cold_share / speed,
        (None, Some(ttft)) => ttft * cold_share,
        (None, None) => 1_000.0 * call.prompt_tokens as f32 * cold_share / assumed.prefill,
    }
}
