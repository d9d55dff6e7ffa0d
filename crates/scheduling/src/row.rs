//! Candidates in the form in which they are decided over: what does not depend on the call is worked out once, when something
//! about the candidate changes, so that a decision over a large fleet is one pass over plain numbers.

use crate::call::{Call, Candidate, Residency};
use crate::capacity::Portion;
use crate::eligibility::{fits_context, standing_exclusion};
use crate::estimate::{Loading, Priors, plain_cost, slowdown, usable};
use crate::policies::{latency_ms, load};
use crate::rows::Rows;
use crate::silence::{doubt_ms, late_ms};

/// Calls that may have their turn at one seat before it has room.
pub(crate) const MAX_RESERVED: u32 = 3;

/// Not to be chosen for any call.
const EXCLUDED: u8 = 1;
/// No room for calls that may use all of the capacity.
const FULL: u8 = 1 << 1;
/// No room for calls that leave headroom.
const FULL_BUT_HEADROOM: u8 = 1 << 2;
/// As many calls wait for it as may have their turn there.
const LONG_LINE: u8 = 1 << 3;
/// The model is not in memory.
const ON_DISK: u8 = 1 << 4;

/// The usual call by which nodes are compared: tokens of its prompt, and of its answer as far as that counts.
const USUAL_PROMPT: f32 = 1_000.0;
const USUAL_ANSWER: f32 = 64.0;
/// Idle readers that are left to others at most.
const LEFT_READERS: usize = 2;
/// Nodes that are slower by less than this factor are as fast.
const AS_FAST: f32 = 1.25;

/// Speeds are known and the model is in memory: the cost is a sum of three terms.
const PLAIN: u8 = 1 << 5;
/// A prompt that was sent to it is unread.
const READING: u8 = 1 << 6;

/// One candidate, ready to be scored. Make it anew ([`of`](Self::of)) when something about the candidate changes; the warm prefix
/// belongs to a call and is set apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Where all speeds are known: milliseconds that do not depend on the call, and those of one more token of its answer, as far as
    /// it counts.
    pub(crate) base_ms: f32,
    pub(crate) answer_ms: f32,
    /// Milliseconds for loading the model, 0 when it is in memory.
    pub(crate) load_ms: f32,
    /// Milliseconds for loading it again, for calls that ask for another context.
    pub(crate) reload_ms: f32,
    /// The context it is loaded with; 0 when that does not matter.
    pub(crate) context_loaded: u32,
    /// The largest context.
    pub(crate) context_max: u32,
    /// Prompt tokens that are read before.
    pub(crate) pending_tokens: f32,
    /// Tokens generated before, divided by the slots that generate them.
    pub(crate) backlog_tokens: f32,
    /// How much longer each answer takes because of the others.
    pub(crate) slowdown: f32,
    /// Milliseconds for one token of an answer; 0 when unknown.
    pub(crate) decode_ms: f32,
    /// Milliseconds for one token of a prompt; 0 when unknown.
    pub(crate) prefill_ms: f32,
    /// Milliseconds to the first token where that is all that is known of reading; negative otherwise.
    pub(crate) first_token_ms: f32,
    /// Milliseconds before which no first token is to be expected, by the node's silence; 0 when it gives signs of its work.
    pub(crate) late_ms: f32,
    /// What doubt costs, in milliseconds.
    pub(crate) penalty_ms: f32,
    /// One through the operator's weight.
    pub(crate) inverse_weight: f32,
    /// Work per slot and weight.
    pub(crate) load: f32,
    /// Latency times requests per weight.
    pub(crate) latency: f32,
    /// Milliseconds for a usual call alone; very many when speeds are unknown.
    usual_ms: f32,
    /// Leading blocks of the call's prompt in the node's cache.
    pub(crate) prefix_blocks: u16,
    /// Slots that are free.
    free: u16,
    flags: u8,
}

impl Row {
    /// Works a candidate out for calls that require `tags`.
    pub fn of(candidate: &Candidate<'_>, tags: &[String]) -> Self {
        let decode = usable(candidate.decode_tokens_per_s);
        let prefill = usable(candidate.prefill_tokens_per_s);
        let inverse = |speed: Option<f32>| speed.map_or(0.0, |speed| 1_000.0 / speed);
        let slots = candidate.slots.unwrap_or(Priors::SLOTS).max(1) as f32;
        let in_line = (candidate.in_flight + candidate.waiting) as f32;
        let pending = candidate.pending_prompt_tokens.unwrap_or(0);
        let backlog_tokens = if in_line < slots {
            // With free slots nothing waits.
            0.0
        } else {
            let backlog = candidate
                .queued_tokens
                .saturating_sub(pending)
                .max(u64::from(candidate.in_flight) * Priors::TOKENS_PER_REQUEST);
            let share_before_a_slot_frees = (in_line + 1.0 - slots) / (in_line + 1.0);
            backlog as f32 * share_before_a_slot_frees / slots
        };
        let first_token_ms = candidate
            .ttft_ewma_ms
            .filter(|ms| prefill.is_none() && ms.is_finite() && *ms >= 0.0);
        let (loading, once_ms) = (
            Loading::of(candidate),
            1_000.0 * Loading::Cold.seconds(candidate),
        );
        let late_ms = late_ms(candidate);
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let mut row = Self {
            base_ms: 0.0,
            answer_ms: 0.0,
            load_ms: 1_000.0 * loading.seconds(candidate),
            reload_ms: once_ms,
            context_loaded: match candidate.residency {
                Residency::Loaded { context } => context.unwrap_or(0),
                Residency::OnDisk | Residency::Unknown => 0,
            },
            context_max: candidate.context_max.unwrap_or(u32::MAX),
            pending_tokens: pending as f32,
            backlog_tokens,
            slowdown: slowdown(in_line / slots),
            decode_ms: inverse(decode),
            prefill_ms: inverse(prefill),
            first_token_ms: first_token_ms.unwrap_or(-1.0),
            late_ms,
            penalty_ms: doubt_ms(candidate.health),
            inverse_weight: 1.0 / candidate.effective_weight(),
            load: load(candidate),
            latency: (latency_ms(candidate) + doubt_ms(candidate.health)) * (in_line + 1.0)
                / candidate.effective_weight(),
            usual_ms: match (decode, prefill) {
                (Some(decode), Some(prefill)) => {
                    1_000.0 * (USUAL_PROMPT / prefill + USUAL_ANSWER / decode)
                }
                _ => f32::MAX,
            },
            prefix_blocks: 0,
            free: block_count((slots - in_line).max(0.0) as u32),
            flags: flag(standing_exclusion(tags, candidate).is_some(), EXCLUDED)
                | flag(candidate.full, FULL | FULL_BUT_HEADROOM)
                | flag(candidate.waiting >= MAX_RESERVED, LONG_LINE)
                | flag(candidate.residency == Residency::OnDisk, ON_DISK)
                | flag(pending > 0, READING),
        };
        row.set_prefix_blocks(candidate.prefix_blocks);
        if decode.is_some() && prefill.is_some() && !row.is_on_disk() {
            row.flags |= PLAIN;
            (row.base_ms, row.answer_ms) = plain_cost(&row);
        }
        row
    }

    /// Says for each [`Portion`] of the capacity whether the candidate is full; [`of`](Self::of) takes both from the candidate.
    pub const fn set_full(&mut self, whole: bool, but_headroom: bool) {
        self.flags &= !(FULL | FULL_BUT_HEADROOM);
        if whole {
            self.flags |= FULL;
        }
        if but_headroom {
            self.flags |= FULL_BUT_HEADROOM;
        }
    }

    /// Says whether a prompt that was sent is unread; [`of`](Self::of) counts those that wait to be sent, too.
    pub const fn set_reading(&mut self, reading: bool) {
        self.flags &= !READING;
        if reading {
            self.flags |= READING;
        }
    }

    /// Sets how many leading blocks of the call's prompt the node has in its cache. To be set back to 0 after the decision.
    /// What a node that owes signs of its work has there draws nobody to it.
    pub fn set_prefix_blocks(&mut self, blocks: u32) {
        self.prefix_blocks = if self.late_ms > 0.0 {
            0
        } else {
            block_count(blocks)
        };
    }

    /// Tells whether no call may use it.
    pub(crate) const fn is_excluded(&self) -> bool {
        self.flags & EXCLUDED != 0
    }

    /// Tells whether speeds are known and the model is in memory.
    pub(crate) const fn is_plain(&self) -> bool {
        self.flags & PLAIN != 0
    }

    /// Tells whether the model is not in memory.
    pub(crate) const fn is_on_disk(&self) -> bool {
        self.flags & ON_DISK != 0
    }

    /// Tells whether as many calls wait for it as may have their turn there.
    pub(crate) const fn has_long_line(&self) -> bool {
        self.flags & LONG_LINE != 0
    }
}

fn block_count(blocks: u32) -> u16 {
    u16::try_from(blocks).unwrap_or(u16::MAX)
}

/// Which full candidates are left out of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaveOut {
    Nobody,
    Full,
    FullWithLongLine,
}

/// The candidates of one decision.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(crate) rows: &'a [Row],
    kept: Option<&'a Rows>,
    portion: Portion,
    closed: bool,
    /// Candidates that are faster are left to others.
    not_below_ms: f32,
    leave_out: LeaveOut,
}

impl<'a> View<'a> {
    /// Looks at `rows` as a call does that may use `portion` of each capacity.
    pub const fn new(rows: &'a [Row], portion: Portion) -> Self {
        Self {
            rows,
            kept: None,
            portion,
            closed: false,
            not_below_ms: 0.0,
            leave_out: LeaveOut::Nobody,
        }
    }

    /// Looks at kept rows.
    pub(crate) fn of(kept: &'a Rows, portion: Portion) -> Self {
        Self {
            kept: Some(kept),
            ..Self::new(kept.as_slice(), portion)
        }
    }

    /// Returns the kept rows when their columns say for `call` what the rows would say one by one.
    pub(crate) fn usual(&self, call: &Call<'_>) -> Option<&'a Rows> {
        let all_count = self.leave_out == LeaveOut::Nobody && self.not_below_ms <= 0.0;
        self.kept
            .filter(|kept| all_count && call.num_ctx.is_none() && kept.all_fit(call.prompt_tokens))
    }

    /// Takes all candidates for full.
    #[must_use]
    pub const fn closed(self) -> Self {
        Self {
            closed: true,
            ..self
        }
    }

    pub(crate) const fn leaving_out(self, leave_out: LeaveOut) -> Self {
        Self { leave_out, ..self }
    }

    /// Tells whether a candidate has no room for the call.
    pub(crate) fn is_full(&self, row: &Row) -> bool {
        let full = match self.portion {
            Portion::Whole => FULL,
            Portion::AllButHeadroom { .. } => FULL_BUT_HEADROOM,
        };
        self.closed || row.flags & full != 0 || row.usual_ms < self.not_below_ms
    }

    /// Leaves the fastest places to others if the call's organisation holds most of what runs: as many free ones as the others use
    /// now, and two idle readers (of few nodes, a quarter). They are counted from the fastest node on, because that is where the
    /// others would have gone without the flood.
    pub(crate) fn yielding(self, call: &Call<'_>) -> Self {
        let Portion::AllButHeadroom { others } = self.portion else {
            return self;
        };
        let left_readers = self.rows.len().div_ceil(4).min(LEFT_READERS);
        // A single node has no faster one beside it.
        let left_readers = if self.rows.len() == 1 {
            0
        } else {
            left_readers
        };
        let mut free: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| row.flags & (EXCLUDED | FULL) == 0)
            .filter(|row| fits_context(call.prompt_tokens, row.context_max))
            .collect();
        free.sort_unstable_by(|a, b| a.usual_ms.total_cmp(&b.usual_ms));
        let (mut places, mut readers) = (0_u32, 0_usize);
        let mut rest = free.as_slice();
        while let Some(first) = rest.first() {
            let group = rest.partition_point(|row| row.usual_ms <= first.usual_ms * AS_FAST);
            let (as_fast, slower) = rest.split_at(group.max(1));
            places += as_fast.iter().map(|row| u32::from(row.free)).sum::<u32>();
            readers += as_fast
                .iter()
                .filter(|row| row.flags & READING == 0)
                .count();
            if places > others && readers > left_readers {
                return Self {
                    not_below_ms: first.usual_ms,
                    ..self
                };
            }
            rest = slower;
        }
        self.closed()
    }

    /// Tells whether a candidate may be chosen for `call`.
    #[inline]
    pub(crate) fn is_eligible(&self, call: &Call<'_>, row: &Row) -> bool {
        row.flags & EXCLUDED == 0
            && row.usual_ms >= self.not_below_ms
            && fits_context(call.prompt_tokens, row.context_max)
            && match self.leave_out {
                LeaveOut::Nobody => true,
                LeaveOut::Full => !self.is_full(row),
                LeaveOut::FullWithLongLine => !(self.is_full(row) && row.has_long_line()),
            }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&'a Row> {
        self.rows.get(index)
    }
}
