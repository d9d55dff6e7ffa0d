//! How long a call would take at a candidate: the arithmetic behind the default policy, with its assumptions in one place.

use std::time::Duration;

use crate::call::{Call, Candidate, Residency};
use crate::reason::{Reason, Reasons};
use crate::row::{Row, View};
use crate::rows::Rows;

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
/// What a prompt that probably does not fit costs.
const TIGHT_CONTEXT_MS: f32 = 60_000.0;
/// How much the time after the first token counts, compared with the time before it.
const ANSWER_SHARE: f32 = 0.25;
/// How much reading again what another candidate has in its cache counts. Far above 1: it takes not only this call's time but
/// that of all who come after, and drives out what they would have found in the cache.
const COPY_SHARE: f32 = 8.0;

/// How much longer each answer takes at a node of which `occupied` (1 for all) slots are in use.
pub(crate) fn slowdown(occupied: f32) -> f32 {
    1.0 + BATCHING_SLOWDOWN * occupied.min(1.0)
}

/// Drops speeds that no arithmetic survives.
pub(crate) fn usable(speed: Option<f32>) -> Option<f32> {
    speed
        .filter(|s| s.is_finite() && *s > 0.0)
        .map(|s| s.clamp(0.01, 1.0e7))
}

/// What the estimates need to know of a call, worked out once for all candidates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    prompt_tokens: u32,
    prompt: f32,
    output: f32,
    context: u32,
    blocks: u32,
    per_block: f32,
}

impl Asked {
    pub(crate) fn of(call: &Call<'_>) -> Self {
        let blocks = call.prefix.len() as u32;
        Self {
            prompt_tokens: call.prompt_tokens,
            prompt: call.prompt_tokens as f32,
            output: call
                .max_tokens
                .map_or(Priors::OUTPUT_TOKENS, |max| max.min(Priors::OUTPUT_TOKENS))
                as f32,
            context: call.num_ctx.unwrap_or(0),
            blocks,
            per_block: if blocks == 0 {
                0.0
            } else {
                1.0 / blocks as f32
            },
        }
    }
}

/// What candidates are compared with: the speeds assumed for those that have none learned, and the longest warm prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assumed {
    decode_ms: f32,
    prefill_ms: f32,
    warm_blocks: u32,
}

impl Assumed {
    /// Takes the best of all who may be chosen: who is unknown is taken to be as good as the best, and so gets tried.
    pub(crate) fn over(call: &Call<'_>, view: &View<'_>) -> Self {
        let mut assumed = Self {
            decode_ms: 1_000.0 / Priors::DECODE_TOKENS_PER_S,
            prefill_ms: 1_000.0 / Priors::PREFILL_TOKENS_PER_S,
            warm_blocks: 0,
        };
        let mut all_plain = true;
        for row in view.rows {
            all_plain &= row.is_plain();
            let warm = u32::from(row.prefix_blocks);
            if warm > assumed.warm_blocks && view.is_eligible(call, row) {
                assumed.warm_blocks = warm;
            }
        }
        if !all_plain {
            for row in view.rows.iter().filter(|row| view.is_eligible(call, row)) {
                assumed.decode_ms = assumed.decode_ms.min(known(row.decode_ms, f32::MAX));
                assumed.prefill_ms = assumed.prefill_ms.min(known(row.prefill_ms, f32::MAX));
            }
        }
        assumed
    }
}

impl Assumed {
    /// Takes what [`over`](Self::over) takes, of kept rows that all may be chosen but for the excluded ones.
    pub(crate) fn of_kept(kept: &Rows) -> Self {
        let (prefill_ms, decode_ms) = kept.best_speeds().unwrap_or((f32::MAX, f32::MAX));
        Self {
            decode_ms: decode_ms.min(1_000.0 / Priors::DECODE_TOKENS_PER_S),
            prefill_ms: prefill_ms.min(1_000.0 / Priors::PREFILL_TOKENS_PER_S),
            warm_blocks: kept.most_blocks(),
        }
    }
}

/// Works out what a call costs at each candidate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    asked: Asked,
    assumed: Assumed,
    reading: Reading,
}

impl Costs {
    pub(crate) fn of(call: &Call<'_>, assumed: Assumed) -> Self {
        let asked = Asked::of(call);
        let most = assumed.warm_blocks.min(asked.blocks) as f32;
        Self {
            asked,
            assumed,
            reading: Reading {
                cold: asked.prompt * (1.0 + COPY_SHARE * most * asked.per_block),
                per_block: asked.prompt * (1.0 + COPY_SHARE) * asked.per_block,
                blocks: asked.blocks as f32,
            },
        }
    }

    /// Returns minus the costs at all of these but the unusual ones.
    pub(crate) fn usual_scores(&self, kept: &Rows) -> Vec<f32> {
        kept.usual_scores(self.reading, self.asked.output)
    }

    /// Returns the cost at a candidate in milliseconds: that of its [`Estimate`], by a shorter way where everything is known.
    #[inline]
    pub(crate) fn at(&self, row: &Row) -> f32 {
        let usual = self.asked.context == 0 && self.asked.prompt_tokens <= row.context_max;
        if !(row.is_plain() && usual) {
            return Estimate::of(&self.asked, row, &self.assumed).cost_ms();
        }
        let tokens = self.reading.tokens(f32::from(row.prefix_blocks));
        // Added in this order also where it is done for all candidates together.
        row.base_ms + row.answer_ms * self.asked.output + row.prefill_ms * tokens
    }
}

/// What reading the prompt of a call weighs, by how much of it a candidate has in its cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Tokens where nothing is cached: those that are read, and again a part of those that another candidate has.
    cold: f32,
    /// Tokens less for each block that is cached.
    per_block: f32,
    /// Blocks of the prompt.
    blocks: f32,
}

impl Reading {
    /// Returns the tokens where so many blocks are cached.
    #[inline]
    pub(crate) fn tokens(self, cached: f32) -> f32 {
        let cached = if cached < self.blocks {
            cached
        } else {
            self.blocks
        };
        self.cold - cached * self.per_block
    }
}

/// Returns the milliseconds at a candidate of known speeds that do not depend on the call, and those for each token of its answer.
pub(crate) fn plain_cost(row: &Row) -> (f32, f32) {
    let work_ms = row.pending_tokens * row.prefill_ms + row.backlog_tokens * row.decode_ms;
    (
        row.load_ms + work_ms.max(row.late_ms) + OVERHEAD_MS + row.penalty_ms,
        ANSWER_SHARE * row.decode_ms * row.slowdown,
    )
}

#[inline]
fn known(ms: f32, otherwise: f32) -> f32 {
    if ms > 0.0 { ms } else { otherwise }
}

/// The expected times of one call at one candidate, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Loading the model.
    pub load_ms: f32,
    /// Work of others that comes first; where that got no sign of life for longer, as long as that.
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
    /// Estimates a call at a candidate. More load never makes any of the times smaller.
    #[inline]
    pub(crate) fn of(asked: &Asked, row: &Row, assumed: &Assumed) -> Self {
        let decode_ms = known(row.decode_ms, assumed.decode_ms);
        let prefill_ms = known(row.prefill_ms, assumed.prefill_ms);
        let warm = warm_blocks(asked, row);
        let cold_share = 1.0 - warm as f32 * asked.per_block;
        let missing = assumed.warm_blocks.min(asked.blocks).saturating_sub(warm);
        let reload = asked.context != 0 && row.context_loaded != 0;
        let reading_ms = if row.first_token_ms >= 0.0 {
            row.first_token_ms
        } else {
            asked.prompt * prefill_ms
        };
        Self {
            load_ms: if reload && asked.context != row.context_loaded {
                row.reload_ms
            } else {
                row.load_ms
            },
            wait_ms: (row.pending_tokens * prefill_ms + row.backlog_tokens * decode_ms)
                .max(row.late_ms),
            read_ms: OVERHEAD_MS + reading_ms * cold_share,
            answer_ms: asked.output * decode_ms * row.slowdown,
            copy_ms: missing as f32 * asked.per_block * asked.prompt * prefill_ms,
            penalty_ms: row.penalty_ms
                + if asked.prompt_tokens > row.context_max {
                    TIGHT_CONTEXT_MS
                } else {
                    0.0
                },
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
        call: &Call<'_>,
        candidate: &Candidate<'_>,
        row: &Row,
        assumed: &Assumed,
        reasons: &mut Reasons,
    ) {
        let asked = Asked::of(call);
        let estimate = Self::of(&asked, row, assumed);
        let warm = warm_blocks(&asked, row);
        explain_loading(call, candidate, warm, reasons);
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
                decode: 1_000.0 / assumed.decode_ms,
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
        reasons.push_doubts(candidate);
        reasons.push(Reason::Expected {
            load_ms: estimate.load_ms,
            wait_ms: estimate.wait_ms,
            behind: candidate.in_flight + candidate.waiting,
            read_ms: estimate.read_ms,
            prompt_tokens: call.prompt_tokens,
            cached_percent: (100.0 * warm as f32 * asked.per_block) as u8,
            answer_ms: estimate.answer_ms,
        });
    }
}

/// Counts the leading blocks of the prompt that the node has in its cache.
#[inline]
fn warm_blocks(asked: &Asked, row: &Row) -> u32 {
    if row.is_on_disk() {
        0
    } else {
        u32::from(row.prefix_blocks).min(asked.blocks)
    }
}

/// Returns how long loading a model of so many bytes is expected to take.
pub fn load_time(model_bytes: Option<u64>) -> Duration {
    Duration::from_secs_f32(load_seconds(model_bytes))
}

fn load_seconds(model_bytes: Option<u64>) -> f32 {
    model_bytes.map_or(Priors::LOAD_UNKNOWN_S, |bytes| {
        Priors::LOAD_FIXED_S + bytes as f32 / Priors::LOAD_BYTES_PER_S
    })
}

/// What has to be loaded before a call can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loading {
    Nothing,
    Cold,
    /// Cold, and another model has to go.
    ColdAndEvicting,
}

impl Loading {
    pub(crate) fn of(candidate: &Candidate<'_>) -> Self {
        match (
            candidate.residency,
            candidate.model_bytes,
            candidate.memory_free_bytes,
        ) {
            (Residency::Loaded { .. } | Residency::Unknown, ..) => Self::Nothing,
            (Residency::OnDisk, Some(bytes), Some(free)) if bytes > free => Self::ColdAndEvicting,
            (Residency::OnDisk, ..) => Self::Cold,
        }
    }

    pub(crate) fn seconds(self, candidate: &Candidate<'_>) -> f32 {
        let once = load_seconds(candidate.model_bytes);
        match self {
            Self::Nothing => 0.0,
            Self::Cold => once,
            // Who is driven out will be loaded again some time.
            Self::ColdAndEvicting => 2.0 * once,
        }
    }
}

fn explain_loading(
    call: &Call<'_>,
    candidate: &Candidate<'_>,
    warm_blocks: u32,
    reasons: &mut Reasons,
) {
    let loading = Loading::of(candidate);
    reasons.push(match (candidate.residency, call.num_ctx) {
        // A server that is asked for another context than the loaded one loads the model again, larger or smaller.
        (
            Residency::Loaded {
                context: Some(loaded),
            },
            Some(asked),
        ) if loaded != asked => Reason::Reload { loaded, asked },
        (Residency::Loaded { context }, _) => Reason::Loaded { context },
        (Residency::Unknown, _) => Reason::ResidencyUnknown,
        (Residency::OnDisk, _) => Reason::ColdLoad {
            seconds: Loading::Cold.seconds(candidate),
        },
    });
    if loading == Loading::ColdAndEvicting {
        reasons.push(Reason::MemoryTight);
    }
    if warm_blocks > 0 {
        reasons.push(Reason::PrefixWarm {
            blocks: warm_blocks,
        });
    }
}

#[cfg(test)]
mod tests {
    use primitives::{MonotonicTime, NodeId, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::capacity::Portion;

    proptest! {
        #[test]
        fn the_shorter_way_gives_the_same_cost(
            (in_flight, waiting, queued, pending) in (0_u32..40, 0_u32..9, 0_u64..90_000, 0_u64..50_000),
            (decode, prefill) in (1.0_f32..500.0, 10.0_f32..20_000.0),
            (warm, others) in (0_u32..50, 0_u32..50),
            (prompt_tokens, blocks) in (1_u32..200_000, 0_usize..40),
        ) {
            let candidate = Candidate {
                in_flight,
                waiting,
                queued_tokens: queued,
                pending_prompt_tokens: Some(pending),
                decode_tokens_per_s: Some(decode),
                prefill_tokens_per_s: Some(prefill),
                prefix_blocks: warm,
                ..Candidate::new(NodeId::generate(Timestamp::from_micros(1)), "n")
            };
            let other = Candidate { prefix_blocks: others, ..candidate };
            let rows = [Row::of(&candidate, &[]), Row::of(&other, &[])];
            let call = Call {
                model: "m",
                prompt_tokens,
                max_tokens: None,
                num_ctx: None,
                prefix: &vec![1; blocks],
                tags: &[],
                now: MonotonicTime::from_micros(0),
                random: 0,
            };
            let assumed = Assumed::over(&call, &View::new(&rows, Portion::Whole));
            let [row, _] = &rows;
            let (short, long) = (
                Costs::of(&call, assumed).at(row),
                Estimate::of(&Asked::of(&call), row, &assumed).cost_ms(),
            );
            prop_assert!((short - long).abs() <= long.abs() * 1e-4, "{} {}", short, long);
        }
    }
}
