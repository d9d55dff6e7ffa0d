//! Log probabilities, which chat and completions write differently.

use serde::{Serialize, Serializer};

use crate::event::{AlternativeLogprob, TokenLogprob};

#[derive(Serialize)]
pub(super) struct ChatLogprobs<'a> {
    content: Vec<TokenBody<'a>>,
}

#[derive(Serialize)]
struct TokenBody<'a> {
    token: &'a str,
    logprob: f64,
    bytes: Option<&'a [u8]>,
    top_logprobs: Vec<AlternativeBody<'a>>,
}

#[derive(Serialize)]
struct AlternativeBody<'a> {
    token: &'a str,
    logprob: f64,
    bytes: Option<&'a [u8]>,
}

#[derive(Serialize)]
pub(super) struct CompletionLogprobs<'a> {
    tokens: Vec<&'a str>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<Alternatives<'a>>,
    text_offset: Vec<usize>,
}

/// Alternatives as an object from token to log probability.
struct Alternatives<'a>(&'a [AlternativeLogprob]);

impl Serialize for Alternatives<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|top| (&top.token, top.logprob)))
    }
}

pub(super) fn chat_logprobs(tokens: &[TokenLogprob]) -> Option<ChatLogprobs<'_>> {
    (!tokens.is_empty()).then(|| ChatLogprobs {
        content: tokens
            .iter()
            .map(|token| TokenBody {
                token: &token.token,
                logprob: token.logprob,
                bytes: token.bytes.as_deref(),
                top_logprobs: token
                    .top
                    .iter()
                    .map(|top| AlternativeBody {
                        token: &top.token,
                        logprob: top.logprob,
                        bytes: top.bytes.as_deref(),
                    })
                    .collect(),
            })
            .collect(),
    })
}

pub(super) fn completion_logprobs(tokens: &[TokenLogprob]) -> Option<CompletionLogprobs<'_>> {
    let mut offset = 0;
    let offsets = tokens.iter().map(|token| {
        let start = offset;
        offset += token.token.chars().count();
        start
    });
    let text_offset = offsets.collect();
    (!tokens.is_empty()).then(|| CompletionLogprobs {
        tokens: tokens.iter().map(|token| token.token.as_str()).collect(),
        token_logprobs: tokens.iter().map(|token| token.logprob).collect(),
        top_logprobs: tokens
            .iter()
            .map(|token| Alternatives(&token.top))
            .collect(),
        text_offset,
    })
}
