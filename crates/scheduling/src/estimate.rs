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
const ANSWER_SHARE: f32 = 0.25;
/// How much reading again what another candidate has in its cache counts. Far above 1: it takes not only this call's time but
/// that of all who come after, and drives out what they would have found in the cache.
const COPY_SHARE: f32 = 8.0;

/// What candidates are compared with: the speeds assumed for those that have none learned, and the longest warm prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assumed {
    decode: f32,
    prefill: f32,
    warm_blocks: u32,
}

impl Assumed {
    /// What is assumed before any candidate was seen.
    pub(crate) const PRIOR: Self = Self {
        decode: Priors::DECODE_TOKENS_PER_S,
        prefill: Priors::PREFILL_TOKENS_PER_S,
        warm_blocks: 0,
    };

    /// Takes the better of what is assumed and what a candidate has: who is unknown is taken to be as good as the best, and so
    /// gets tried.
    #[inline]
    fn include(&mut self, candidate: &Candidate<'_>) {
        if let Some(speed) = usable(candidate.decode_tokens_per_s) {
            self.decode = self.decode.max(speed);
        }
        if let Some(speed) = usable(candidate.prefill_tokens_per_s) {
            self.prefill = self.prefill.max(speed);
        }
        self.warm_blocks = self.warm_blocks.max(candidate.prefix_blocks);
    }
}

/// The cost of a call at one candidate, but for what depends on the other candidates. It makes one pass over the candidates
/// enough: they are larger than a processor's first cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    cost_ms: f32,
    copy_ms_per_block: f32,
    warm_blocks: u32,
    weight: f32,
    /// Whether all speeds are learned, so that nothing has to be assumed.
    learned: bool,
}

impl Draft {
    /// Drafts the cost of `call` at `candidate`, and takes the candidate into what is assumed of others.
    #[inline]
    pub(crate) fn of(call: &Call<'_>, candidate: &Candidate<'_>, assumed: &mut Assumed) -> Self {
        assumed.include(candidate);
        let prefill = usable(candidate.prefill_tokens_per_s);
        let learned = prefill.is_some() && usable(candidate.decode_tokens_per_s).is_some();
        let copy_ms_per_block = match (prefill, call.prefix.len()) {
            (Some(prefill), blocks @ 1..) => {
                COPY_SHARE * 1_000.0 * call.prompt_tokens as f32 / (blocks as f32 * prefill)
            }
            _ => 0.0,
        };
        let cost_ms = if learned {
            Estimate::of(call, candidate, Assumed::PRIOR).cost_ms()
        } else {
            0.0
        };
        Self {
            cost_ms,
            copy_ms_per_block,
            warm_blocks: warm_blocks(call, candidate),
            weight: candidate.effective_weight(),
            learned,
        }
    }

    /// Returns the weighted cost, once all candidates are known.
    #[inline]
    pub(crate) fn finish(
        &self,
        call: &Call<'_>,
        candidate: &Candidate<'_>,
        assumed: Assumed,
    ) -> f32 {
        let cost = if self.learned {
            let warmest = assumed.warm_blocks.min(call.prefix.len() as u32);
            let missing = warmest.saturating_sub(self.warm_blocks);
            self.cost_ms + missing as f32 * self.copy_ms_per_block
        } else {
            Estimate::of(call, candidate, assumed).cost_ms()
        };
        match self.weight {
            1.0 => cost,
            weight => cost / weight,
        }
    }
}

/// Drops speeds that no arithmetic survives.
fn usable(speed: Option<f32>) -> Option<f32> {
    speed
        .filter(|s| s.is_finite() && *s > 0.0)
        .map(|s| s.clamp(0.01, 1.0e7))
}

/// The expected times of one call at one candidate, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Loading the model.
    pub load_ms: f32,
    /// Work of others that comes first.
    pub wait_ms: f32,
    /// Reading the part of the prompt that is not cached, and what every call costs.
    pub read_ms: f32,
    /// Generating the answer.
    pub answer_ms: f32,
    /// Reading again what another candidate has in its cache.
    pub copy_ms: f32,
    /// What doubt costs.
    pub penalty_ms: f32,
}

impl Estimate {
    /// Estimates `call` at `candidate`. More load never makes any of the times smaller.
    #[inline]
    pub(crate) fn of(call: &Call<'_>, candidate: &Candidate<'_>, assumed: Assumed) -> Self {
        // Divisions are what this costs: each is made once.
        let decode_ms = 1_000.0 / usable(candidate.decode_tokens_per_s).unwrap_or(assumed.decode);
        let prefill = usable(candidate.prefill_tokens_per_s);
        let prefill_ms = 1_000.0 / prefill.unwrap_or(assumed.prefill);
        let slots = slots(candidate);
        let slot_share = 1.0 / slots;
        let in_line = (candidate.in_flight + candidate.waiting) as f32;
        let output = call
            .max_tokens
            .map_or(Priors::OUTPUT_TOKENS, |max| max.min(Priors::OUTPUT_TOKENS));
        let occupancy = (in_line * slot_share).min(1.0);
        Self {
            load_ms: 1_000.0 * Loading::of(call, candidate).seconds(candidate),
            wait_ms: prompts_ahead_ms(candidate, prefill_ms)
                + slot_wait_ms(candidate, in_line, slots, decode_ms * slot_share),
            read_ms: OVERHEAD_MS + reading_ms(call, candidate, prefill, prefill_ms),
            answer_ms: output as f32 * decode_ms * (1.0 + BATCHING_SLOWDOWN * occupancy),
            copy_ms: copied_share(call, candidate, assumed)
                * call.prompt_tokens as f32
                * prefill_ms,
            penalty_ms: penalty_ms(call, candidate),
        }
    }

    /// Returns milliseconds to the first token.
    pub fn first_token_ms(&self) -> f32 {
        self.load_ms + self.wait_ms + self.read_ms
    }

    /// Returns what the default policy minimises: the wait for the first token, a quarter of the time after it, the work that is
    /// done twice, and penalties.
    pub fn cost_ms(&self) -> f32 {
        self.first_token_ms()
            + COPY_SHARE * self.copy_ms
            + ANSWER_SHARE * self.answer_ms
            + self.penalty_ms
    }

    /// Notes in words what the estimate of `call` at `candidate` goes by.
    pub(crate) fn explain(
        &self,
        call: &Call<'_>,
        candidate: &Candidate<'_>,
        assumed: Assumed,
        reasons: &mut Reasons,
    ) {
        Loading::of(call, candidate).explain(call, candidate, reasons);
        reasons.push(Reason::InFlight {
            in_flight: candidate.in_flight,
            slots: candidate.slots,
        });
        if candidate.full {
            reasons.push(Reason::Full {
                waiting: candidate.waiting,
            });
        }
        reasons.push(match usable(candidate.decode_tokens_per_s) {
            Some(decode) => Reason::SpeedLearned { decode },
            None => Reason::SpeedAssumed {
                decode: assumed.decode,
            },
        });
        if let Some(context) = candidate.context_max
            && call.prompt_tokens > context
        {
            reasons.push(Reason::ContextTight {
                prompt: call.prompt_tokens,
                context,
            });
        }
        if candidate.health == Health::Suspect {
            reasons.push(Reason::Suspect);
        }
        reasons.push(Reason::Expected {
            load_ms: self.load_ms,
            wait_ms: self.wait_ms,
            behind: candidate.in_flight + candidate.waiting,
            read_ms: self.read_ms,
            prompt_tokens: call.prompt_tokens,
            cached_percent: (100.0 * cached_share(call, candidate)) as u8,
            answer_ms: self.answer_ms,
        });
    }
}

/// What has to be loaded before a call can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loading {
    Nothing,
    /// A server that is asked for another context than the loaded one loads the model again, larger or smaller.
    Again {
        loaded: u32,
        asked: u32,
    },
    Cold,
    /// Cold, and another model has to go.
    ColdAndEvicting,
}

impl Loading {
    #[inline]
    fn of(call: &Call<'_>, candidate: &Candidate<'_>) -> Self {
        match (candidate.residency, call.num_ctx) {
            (
                Residency::Loaded {
                    context: Some(loaded),
                },
                Some(asked),
            ) if loaded != asked => Self::Again { loaded, asked },
            (Residency::Loaded { .. } | Residency::Unknown, _) => Self::Nothing,
            (Residency::OnDisk, _) => match (candidate.model_bytes, candidate.memory_free_bytes) {
                (Some(bytes), Some(free)) if bytes > free => Self::ColdAndEvicting,
                _ => Self::Cold,
            },
        }
    }

    #[inline]
    fn seconds(self, candidate: &Candidate<'_>) -> f32 {
        if self == Self::Nothing {
            return 0.0;
        }
        let once = candidate
            .model_bytes
            .map_or(Priors::LOAD_UNKNOWN_S, |bytes| {
                Priors::LOAD_FIXED_S + bytes as f32 / Priors::LOAD_BYTES_PER_S
            });
        // Who is driven out will be loaded again some time.
        if self == Self::ColdAndEvicting {
            2.0 * once
        } else {
            once
        }
    }

    fn explain(self, call: &Call<'_>, candidate: &Candidate<'_>, reasons: &mut Reasons) {
        reasons.push(match self {
            Self::Again { loaded, asked } => Reason::Reload { loaded, asked },
            Self::Cold | Self::ColdAndEvicting => Reason::ColdLoad {
                seconds: Self::Cold.seconds(candidate),
            },
            Self::Nothing => match candidate.residency {
                Residency::Loaded { context } => Reason::Loaded { context },
                _ => Reason::ResidencyUnknown,
            },
        });
        if self == Self::ColdAndEvicting {
            reasons.push(Reason::MemoryTight);
        }
        let warm = warm_blocks(call, candidate);
        if warm > 0 {
            reasons.push(Reason::PrefixWarm { blocks: warm });
        }
    }
}

#[inline]
fn slots(candidate: &Candidate<'_>) -> f32 {
    candidate.slots.unwrap_or(Priors::SLOTS).max(1) as f32
}

/// How long the prompts in front take to be read, where somebody counts them.
#[inline]
fn prompts_ahead_ms(candidate: &Candidate<'_>, prefill_ms: f32) -> f32 {
    as_f32(candidate.pending_prompt_tokens.unwrap_or(0)) * prefill_ms
}

/// How long the requests in front hold every slot: with free slots nothing waits.
#[inline]
fn slot_wait_ms(
    candidate: &Candidate<'_>,
    in_line: f32,
    slots: f32,
    all_slots_decode_ms: f32,
) -> f32 {
    if in_line < slots {
        return 0.0;
    }
    let pending = candidate.pending_prompt_tokens.unwrap_or(0);
    let backlog = candidate
        .queued_tokens
        .saturating_sub(pending)
        .max(u64::from(candidate.in_flight) * Priors::TOKENS_PER_REQUEST);
    let share_before_a_slot_frees = (in_line + 1.0 - slots) / (in_line + 1.0);
    as_f32(backlog) * share_before_a_slot_frees * all_slots_decode_ms
}

/// Converts a count; signed, which processors do at once.
#[inline]
fn as_f32(count: u64) -> f32 {
    i64::try_from(count).unwrap_or(i64::MAX) as f32
}

/// Counts the leading blocks of the prompt that the node has in its cache.
#[inline]
fn warm_blocks(call: &Call<'_>, candidate: &Candidate<'_>) -> u32 {
    if candidate.residency == Residency::OnDisk {
        0
    } else {
        candidate.prefix_blocks.min(call.prefix.len() as u32)
    }
}

#[inline]
fn cached_share(call: &Call<'_>, candidate: &Candidate<'_>) -> f32 {
    match warm_blocks(call, candidate) {
        0 => 0.0,
        warm => warm as f32 / call.prefix.len() as f32,
    }
}

/// Returns the share of the prompt that another candidate has in its cache and this one has not.
#[inline]
fn copied_share(call: &Call<'_>, candidate: &Candidate<'_>, assumed: Assumed) -> f32 {
    let blocks = call.prefix.len() as u32;
    let missing = assumed
        .warm_blocks
        .min(blocks)
        .saturating_sub(warm_blocks(call, candidate));
    match missing {
        0 => 0.0,
        missing => missing as f32 / blocks as f32,
    }
}

#[inline]
fn reading_ms(
    call: &Call<'_>,
    candidate: &Candidate<'_>,
    prefill: Option<f32>,
    prefill_ms: f32,
) -> f32 {
    let cold_share = 1.0 - cached_share(call, candidate);
    let learned_first_token = candidate
        .ttft_ewma_ms
        .filter(|ms| ms.is_finite() && *ms >= 0.0);
    match (prefill, learned_first_token) {
        (None, Some(ttft)) => ttft * cold_share,
        _ => call.prompt_tokens as f32 * cold_share * prefill_ms,
    }
}

#[inline]
fn penalty_ms(call: &Call<'_>, candidate: &Candidate<'_>) -> f32 {
    let mut penalty_ms = 0.0;
    if candidate
        .context_max
        .is_some_and(|context| call.prompt_tokens > context)
    {
        penalty_ms += TIGHT_CONTEXT_MS;
    }
    if candidate.health == Health::Suspect {
        penalty_ms += SUSPECT_MS;
    }
    penalty_ms
}
