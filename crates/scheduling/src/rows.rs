//! The rows of a large fleet, kept from decision to decision: beside them stands in columns what the usual cost is made of, so that
//! scoring a thousand candidates is a few straight passes over plain numbers.

use crate::capacity::Portion;
use crate::estimate::Reading;
use crate::row::{Row, View};

/// Kept rows.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    all: Vec<Row>,
    /// Milliseconds that do not depend on the call; infinite for candidates that no call may use, and for unusual ones.
    base_ms: Vec<f32>,
    /// Milliseconds for one token of a prompt; 0 when unknown.
    prefill_ms: Vec<f32>,
    /// Milliseconds for one token of an answer; 0 when unknown.
    decode_ms: Vec<f32>,
    /// The same, as far as it counts.
    answer_ms: Vec<f32>,
    inverse_weight: Vec<f32>,
    /// Leading blocks of the present call's prompt in the cache.
    warm_blocks: Vec<f32>,
    /// Rows of whose cost that is not all: each is looked at by itself.
    unusual: Vec<u32>,
    /// No context is smaller.
    least_context: u32,
    /// Rows with any such blocks.
    warm: Vec<u32>,
}

impl Rows {
    /// Adds a candidate.
    pub fn push(&mut self, row: Row) {
        if self.all.is_empty() {
            self.least_context = u32::MAX;
        }
        self.all.push(row);
        for column in [
            &mut self.base_ms,
            &mut self.prefill_ms,
            &mut self.decode_ms,
            &mut self.answer_ms,
            &mut self.inverse_weight,
            &mut self.warm_blocks,
        ] {
            column.push(0.0);
        }
        let index = self.all.len() - 1;
        if is_unusual(&row) {
            self.unusual.push(index as u32);
        }
        self.write(index, &row);
    }

    /// Replaces a candidate; an index that there is none of changes nothing.
    pub fn set(&mut self, index: usize, row: Row) {
        let Some(place) = self.all.get_mut(index) else {
            return;
        };
        let before = std::mem::replace(place, row);
        match (is_unusual(&before), is_unusual(&row)) {
            (false, true) => self.unusual.push(index as u32),
            (true, false) => self.unusual.retain(|unusual| *unusual as usize != index),
            _ => {}
        }
        self.write(index, &row);
    }

    fn write(&mut self, index: usize, row: &Row) {
        // The bound is only ever lowered: it may be lower than needed, which costs time and nothing else.
        self.least_context = self.least_context.min(row.context_max);
        let (base_ms, prefill_ms, decode_ms) = if row.is_excluded() {
            (f32::INFINITY, 0.0, 0.0)
        } else if row.is_plain() {
            (row.base_ms, row.prefill_ms, row.decode_ms)
        } else {
            (f32::INFINITY, row.prefill_ms, row.decode_ms)
        };
        for (column, value) in [
            (&mut self.base_ms, base_ms),
            (&mut self.prefill_ms, prefill_ms),
            (&mut self.decode_ms, decode_ms),
            (&mut self.answer_ms, row.answer_ms),
            (&mut self.inverse_weight, row.inverse_weight),
        ] {
            if let Some(place) = column.get_mut(index) {
                *place = value;
            }
        }
    }

    /// Sets how many leading blocks of the call's prompt a candidate has in its cache.
    pub fn warm(&mut self, index: usize, blocks: u32) {
        if let (Some(row), Some(warm)) = (self.all.get_mut(index), self.warm_blocks.get_mut(index))
        {
            row.set_prefix_blocks(blocks);
            *warm = f32::from(row.prefix_blocks);
            self.warm.push(index as u32);
        }
    }

    /// Forgets what belonged to the present call.
    pub fn cool_down(&mut self) {
        while let Some(index) = self.warm.pop() {
            let index = index as usize;
            if let (Some(row), Some(warm)) =
                (self.all.get_mut(index), self.warm_blocks.get_mut(index))
            {
                row.set_prefix_blocks(0);
                *warm = 0.0;
            }
        }
    }

    /// Returns the rows.
    pub fn as_slice(&self) -> &[Row] {
        &self.all
    }

    /// Looks at the rows as a call does that may use `portion` of each capacity.
    pub fn view(&self, portion: Portion) -> View<'_> {
        View::of(self, portion)
    }

    /// Tells whether a prompt of this size fits every context.
    pub(crate) const fn all_fit(&self, prompt_tokens: u32) -> bool {
        prompt_tokens <= self.least_context
    }

    /// Returns the rows of whose cost the columns say too little, with their indices.
    pub(crate) fn unusual(&self) -> impl Iterator<Item = (usize, &Row)> {
        let indices = self.unusual.iter().map(|index| *index as usize);
        indices.filter_map(|index| Some((index, self.all.get(index)?)))
    }

    /// Returns the most leading blocks of the prompt that a candidate which may be chosen has in its cache.
    pub(crate) fn most_blocks(&self) -> u32 {
        let warm = self.warm.iter().filter_map(|index| {
            let index = *index as usize;
            let usable = self.base_ms.get(index)?.is_finite();
            usable.then(|| self.warm_blocks.get(index).copied())?
        });
        let unusual = self.unusual().map(|(_, row)| f32::from(row.prefix_blocks));
        warm.chain(unusual).fold(0.0, f32::max) as u32
    }

    /// Returns the least milliseconds for one token of a prompt and of an answer; `None` when nobody needs them: all are known.
    pub(crate) fn best_speeds(&self) -> Option<(f32, f32)> {
        (!self.unusual.is_empty()).then(|| (least(&self.prefill_ms), least(&self.decode_ms)))
    }

    /// Returns minus the cost of every row, by the tokens that reading the prompt weighs with so many blocks in the cache and by the
    /// tokens of the answer; minus infinity for those that no call may use, and for unusual ones.
    pub(crate) fn usual_scores(&self, reading: Reading, answer: f32) -> Vec<f32> {
        // Two passes over few columns: of one over all of them the compiler makes no vectors.
        let answers = self.base_ms.iter().zip(&self.answer_ms);
        let mut scores: Vec<f32> = answers.map(|(base, ms)| base + ms * answer).collect();
        let prompts = self.prefill_ms.iter().zip(&self.warm_blocks);
        let prompts = prompts.zip(&self.inverse_weight);
        for (score, ((ms, blocks), weight)) in scores.iter_mut().zip(prompts) {
            *score = -(*score + ms * reading.tokens(*blocks)) * weight;
        }
        scores
    }
}

/// Returns the least of the numbers above 0.
fn least(column: &[f32]) -> f32 {
    // Eight at a time: one after the other each comparison would wait for the one before.
    let (lanes, rest) = column.as_chunks::<8>();
    let lesser = |least: f32, ms: f32| {
        let ms = if ms > 0.0 { ms } else { f32::MAX };
        if ms < least { ms } else { least }
    };
    let mut found = [f32::MAX; 8];
    for lane in lanes {
        for (found, ms) in found.iter_mut().zip(lane) {
            *found = lesser(*found, *ms);
        }
    }
    let found = found.iter().chain(rest);
    found.fold(f32::MAX, |least, ms| lesser(least, *ms))
}

/// Tells whether a row that calls may use is not scored by the columns alone.
const fn is_unusual(row: &Row) -> bool {
    !row.is_excluded() && !row.is_plain()
}
