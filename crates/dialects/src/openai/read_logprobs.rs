//! Reading log probabilities, which chat and completions write differently.

use serde::Deserialize;

use crate::event::{AlternativeLogprob, TokenLogprob};

/// Reads the log probabilities of a chat; `None` when they are not as expected.
pub(super) fn chat_logprobs(json: &str) -> Option<Vec<TokenLogprob>> {
    #[derive(Deserialize)]
    struct Wire {
        content: Option<Vec<Entry>>,
    }
    #[derive(Deserialize)]
    struct Entry {
        token: String,
        logprob: f64,
        bytes: Option<Vec<u8>>,
        top_logprobs: Option<Vec<Alternative>>,
    }
    #[derive(Deserialize)]
    struct Alternative {
        token: String,
        logprob: f64,
        bytes: Option<Vec<u8>>,
    }
    let wire: Wire = serde_json::from_str(json).ok()?;
    let tokens = wire.content?.into_iter().map(|token| TokenLogprob {
        token: token.token,
        logprob: token.logprob,
        bytes: token.bytes,
        top: token
            .top_logprobs
            .into_iter()
            .flatten()
            .map(|top| AlternativeLogprob {
                token: top.token,
                logprob: top.logprob,
                bytes: top.bytes,
            })
            .collect(),
    });
    Some(tokens.collect())
}

/// The completions route writes parallel lists. llama-server writes the chat shape there.
pub(super) fn completion_logprobs(json: &str) -> Option<Vec<TokenLogprob>> {
    #[derive(Deserialize)]
    struct Wire {
        tokens: Vec<String>,
        token_logprobs: Vec<Option<f64>>,
        top_logprobs: Option<Vec<Option<serde_json::Map<String, serde_json::Value>>>>,
    }
    let Ok(wire) = serde_json::from_str::<Wire>(json) else {
        return chat_logprobs(json);
    };
    let mut tops = wire.top_logprobs.unwrap_or_default().into_iter();
    let tokens = wire
        .tokens
        .into_iter()
        .zip(wire.token_logprobs)
        .map(|(token, logprob)| TokenLogprob {
            token,
            logprob: logprob.unwrap_or(0.0),
            bytes: None,
            top: tops
                .next()
                .flatten()
                .into_iter()
                .flatten()
                .filter_map(|(token, logprob)| {
                    let logprob = logprob.as_f64()?;
                    Some(AlternativeLogprob {
                        token,
                        logprob,
                        bytes: None,
                    })
                })
                .collect(),
        });
    Some(tokens.collect())
}
