//! `SentencePiece` BPE vocabularies (`llama` in GGUF): the pair with the best score is merged first; what is unknown becomes bytes.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use candle_core::quantized::gguf_file::Value;

use crate::file::{Metadata, Refusal};

/// A `SentencePiece` splitter.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    ids: HashMap<Box<str>, u32>,
    scores: Vec<f32>,
    bytes: Vec<Option<u32>>,
    unknown: u32,
    adds_space: bool,
}

/// A run of characters that may still be merged with its neighbours. Merged-away symbols have length 0.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    length: usize,
    before: Option<usize>,
    after: Option<usize>,
}

/// Two neighbours that together are a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        // Best score first, then leftmost.
        self.score
            .total_cmp(&other.score)
            .then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl SentencePiece {
    pub(crate) fn from_metadata(metadata: &Metadata, tokens: &[&str]) -> Result<Self, Refusal> {
        let scores = metadata
            .find_array("tokenizer.ggml.scores")
            .ok_or_else(|| Refusal::new("the file has no token scores (tokenizer.ggml.scores)"))?
            .iter()
            .map(|score| match score {
                Value::F32(score) => *score,
                _ => 0.0,
            })
            .collect::<Vec<f32>>();
        if scores.len() != tokens.len() {
            return Err(Refusal(format!(
                "the vocabulary has {} tokens but {} scores",
                tokens.len(),
                scores.len()
            )));
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        let mut bytes = vec![None; 256];
        for (id, token) in (0u32..).zip(tokens) {
            ids.entry((*token).into()).or_insert(id);
            if let Some(byte) = super::pieces::byte_token(token) {
                bytes[usize::from(byte)] = Some(id);
            }
        }
        let unknown = metadata
            .find_number("tokenizer.ggml.unknown_token_id")
            .unwrap_or(0);
        Ok(Self {
            ids,
            scores,
            bytes,
            unknown: u32::try_from(unknown).unwrap_or(0),
            adds_space: metadata
                .find_flag("tokenizer.ggml.add_space_prefix")
                .unwrap_or(true),
        })
    }

    /// Tells whether a space is put before every text.
    pub(crate) fn adds_space(&self) -> bool {
        self.adds_space
    }

    pub(crate) fn split(&self, text: &str, out: &mut Vec<u32>) {
        let mut spelled = String::with_capacity(text.len() + 3);
        if self.adds_space {
            spelled.push('▁');
        }
        spelled.extend(
            text.chars()
                .map(|character| if character == ' ' { '▁' } else { character }),
        );
        for symbol in self.merge(&spelled) {
            self.emit(&spelled[symbol.start..symbol.start + symbol.length], out);
        }
    }

    fn merge(&self, text: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(place, (start, character))| Symbol {
                start,
                length: character.len_utf8(),
                before: place.checked_sub(1),
                after: Some(place + 1),
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.after = None;
        }
        let mut queue = BinaryHeap::new();
        for right in 1..symbols.len() {
            self.propose(text, &symbols, right - 1, right, &mut queue);
        }
        while let Some(pair) = queue.pop() {
            let (left, right) = (symbols[pair.left], symbols[pair.right]);
            let stale =
                left.length == 0 || right.length == 0 || left.length + right.length != pair.length;
            if stale {
                continue;
            }
            symbols[pair.left].length = pair.length;
            symbols[pair.left].after = right.after;
            symbols[pair.right].length = 0;
            if let Some(after) = right.after {
                symbols[after].before = Some(pair.left);
                self.propose(text, &symbols, pair.left, after, &mut queue);
            }
            if let Some(before) = left.before {
                self.propose(text, &symbols, before, pair.left, &mut queue);
            }
        }
        symbols.retain(|symbol| symbol.length > 0);
        symbols
    }

    fn propose(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: usize,
        right: usize,
        queue: &mut BinaryHeap<Pair>,
    ) {
        let start = symbols[left].start;
        let length = symbols[left].length + symbols[right].length;
        if let Some(id) = self.ids.get(&text[start..start + length]) {
            queue.push(Pair {
                score: self.scores[*id as usize],
                left,
                right,
                length,
            });
        }
    }

    fn emit(&self, piece: &str, out: &mut Vec<u32>) {
        if let Some(id) = self.ids.get(piece) {
            out.push(*id);
            return;
        }
        out.extend(
            piece
                .bytes()
                .map(|byte| self.bytes[usize::from(byte)].unwrap_or(self.unknown)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splitter() -> SentencePiece {
        let tokens = [
            "<unk>", "<0xC3>", "<0xA9>", "▁", "a", "b", "ab", "▁ab", "ba", "▁b",
        ];
        let scores = [0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -1.0, -2.0, -3.0, -4.0];
        let array = |values: Vec<Value>| Value::Array(values);
        let metadata = Metadata::new(
            [
                (
                    "tokenizer.ggml.scores".to_owned(),
                    array(scores.map(Value::F32).to_vec()),
                ),
                ("tokenizer.ggml.unknown_token_id".to_owned(), Value::U32(0)),
            ]
            .into(),
        );
        SentencePiece::from_metadata(&metadata, &tokens).unwrap()
    }

    #[test]
    fn the_best_scored_pair_is_merged_first() {
        let mut ids = Vec::new();
        splitter().split("aba b", &mut ids);
        // "ab" beats "ba"; then "▁ab"; the second "a" stays alone, "▁b" is one token.
        assert_eq!(ids, [7, 4, 9]);
    }

    #[test]
    fn unknown_characters_become_bytes() {
        let mut ids = Vec::new();
        splitter().split("é", &mut ids);
        assert_eq!(ids, [3, 1, 2]);
    }
}
