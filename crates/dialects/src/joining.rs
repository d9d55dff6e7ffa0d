//! Embedding requests of several clients in one call, and the parts of a large one in several.

use std::fmt::Write as _;
use std::ops::Range;

use crate::canonical::{EmbedInput, EmbedRequest, Encoding};
use crate::error::ApiError;
use crate::event::{Event, Usage};
use crate::operation::Operation;
use crate::vector::Vector;

impl EmbedRequest {
    /// Returns a text that two requests for one model have in common exactly when one call may answer both: whatever
    /// changes the vectors, or what a node does besides, is in it.
    ///
    /// `None` for a request that must go alone: one without inputs, with an empty text (servers differ in what they make of
    /// it), or with texts and tokens at once. The deprecated route of Ollama has a key of its own: where a node has that route,
    /// its vectors are not normalised, as all others are.
    pub fn joining_key(&self) -> Option<String> {
        let texts = self
            .inputs
            .iter()
            .filter(|input| matches!(input, EmbedInput::Text(text) if !text.is_empty()))
            .count();
        let tokens = self
            .inputs
            .iter()
            .filter(|input| matches!(input, EmbedInput::Tokens(tokens) if !tokens.is_empty()))
            .count();
        let kind = if texts > 0 && texts == self.inputs.len() {
            't'
        } else if tokens > 0 && tokens == self.inputs.len() {
            'n'
        } else {
            return None;
        };
        let deprecated = self.source == Operation::OllamaEmbeddings;
        let mut key = format!(
            "{kind}{}|{:?}|{:?}|",
            u8::from(deprecated),
            self.dimensions,
            self.truncate
        );
        if let Some(keep_alive) = &self.keep_alive {
            key.push_str(keep_alive.text());
        }
        key.push('|');
        for (name, value) in self.node_options.iter() {
            // A string's quotes and escapes keep names and values apart.
            let _infallible = write!(key, "{name:?}:{},", value.text());
        }
        if !self.extensions.is_empty() {
            let _infallible = write!(key, "|{}", self.source.as_str());
            for (name, value) in self.extensions.iter() {
                let _infallible = write!(key, ",{name:?}:{}", value.text());
            }
        }
        Some(key)
    }

    /// Makes the request that asks for all inputs of requests with equal [keys](Self::joining_key), one after the other.
    /// `None` without any.
    pub fn joined<'a>(requests: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut requests = requests.into_iter();
        let mut joined = requests.next()?.clone();
        for request in requests {
            joined.inputs.extend_from_slice(&request.inputs);
        }
        joined.ask_for_several();
        Some(joined)
    }

    /// Makes the request for a part of the inputs. A range beyond them is cut.
    #[must_use]
    pub fn part(&self, inputs: Range<usize>) -> Self {
        let inputs = inputs.start.min(self.inputs.len())..inputs.end.min(self.inputs.len());
        let mut part = Self {
            inputs: self.inputs[inputs].to_vec(),
            source: self.source,
            model: self.model.clone(),
            dimensions: self.dimensions,
            truncate: self.truncate,
            encoding: self.encoding,
            keep_alive: self.keep_alive.clone(),
            node_options: self.node_options.clone(),
            extensions: self.extensions.clone(),
        };
        part.ask_for_several();
        part
    }

    /// Goes by a route that takes several inputs, and gives vectors as numbers.
    fn ask_for_several(&mut self) {
        self.encoding = Encoding::Float;
        if self.extensions.is_empty() {
            let texts = !matches!(self.inputs.first(), Some(EmbedInput::Tokens(_)));
            self.source = if texts {
                Operation::OllamaEmbed
            } else {
                Operation::OpenAiEmbeddings
            };
        }
    }
}

impl EmbedInput {
    /// Returns about how many bytes the input takes in a request.
    pub const fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Tokens(tokens) => tokens.len() * 6,
        }
    }
}

/// The answer to an embedding request: one vector per input, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmbedAnswer {
    /// The vectors.
    pub vectors: Vec<Vector>,
    /// What they cost.
    pub usage: Usage,
}

impl EmbedAnswer {
    /// Puts a node's events together.
    ///
    /// # Errors
    /// The error among the events, if there is one.
    pub fn of(events: Vec<Event>) -> Result<Self, ApiError> {
        let mut answer = Self::default();
        for event in events {
            match event {
                Event::Embeddings(vectors) => answer.vectors.extend(vectors),
                Event::Usage(usage) => answer.usage = usage,
                Event::Error(error) => return Err(error),
                _ => {}
            }
        }
        Ok(answer)
    }

    /// Returns the events that say the same.
    pub fn into_events(self) -> Vec<Event> {
        vec![Event::Embeddings(self.vectors), Event::Usage(self.usage)]
    }

    /// Adds the answer to the inputs that come next. Durations are of parts that ran beside each other: the longest counts.
    pub fn append(&mut self, next: Self) {
        self.vectors.extend(next.vectors);
        let (sum, one) = (&mut self.usage, next.usage);
        sum.prompt_tokens = sum.prompt_tokens.saturating_add(one.prompt_tokens);
        sum.total_duration = sum.total_duration.max(one.total_duration);
        sum.load_duration = sum.load_duration.max(one.load_duration);
        sum.prompt_eval_duration = sum.prompt_eval_duration.max(one.prompt_eval_duration);
    }

    /// Divides the answer over the requests that were joined: each gets the vectors of its `inputs`, and its part of the
    /// counted tokens by `size`, so that the parts add up to what the node counted. Nodes count whole calls, so the parts
    /// are an estimate. Durations are those of the call.
    ///
    /// `None` when there is not one vector for each input.
    pub fn divide(self, shares: &[EmbedShare]) -> Option<Vec<Self>> {
        if self.vectors.len() != shares.iter().map(|share| share.inputs).sum::<usize>() {
            return None;
        }
        let total: u128 = shares.iter().map(|share| share.size as u128).sum();
        let tokens = u128::from(self.usage.prompt_tokens);
        let mut vectors = self.vectors.into_iter();
        let (mut size, mut given) = (0_u128, 0_u128);
        let parts = shares.iter().map(|share| {
            size += share.size as u128;
            // What all so far should have, less what they have: rounding never adds up.
            let so_far = (tokens * size).checked_div(total).unwrap_or(tokens);
            let prompt_tokens = (so_far - given) as u64;
            given = so_far;
            Self {
                vectors: vectors.by_ref().take(share.inputs).collect(),
                usage: Usage {
                    prompt_tokens,
                    ..self.usage
                },
            }
        });
        Some(parts.collect())
    }
}

/// What one request has in a joined call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbedShare {
    /// How many inputs.
    pub inputs: usize,
    /// How large they are together, in bytes.
    pub size: usize,
}

#[cfg(test)]
mod tests {
    use crate::{Request, Target, decode_request, encode_request};

    use super::*;

    fn read(operation: Operation, body: &str) -> EmbedRequest {
        match decode_request(operation, body.as_bytes()).unwrap() {
            Request::Embed(embed) => *embed,
            other => panic!("{other:?}"),
        }
    }

    fn ollama(body: &str) -> EmbedRequest {
        read(Operation::OllamaEmbed, body)
    }

    fn openai(body: &str) -> EmbedRequest {
        read(Operation::OpenAiEmbeddings, body)
    }

    #[test]
    fn requests_join_over_dialects_unless_something_differs() {
        let plain = ollama(r#"{"model":"m","input":"a"}"#).joining_key();
        assert!(plain.is_some());
        let same = [
            ollama(r#"{"model":"m","input":["b","c"]}"#),
            openai(r#"{"model":"m","input":"d","encoding_format":"base64"}"#),
            openai(r#"{"model":"other name","input":["e"]}"#),
        ];
        for request in same {
            assert_eq!(request.joining_key(), plain, "{request:?}");
        }
        let other = [
            ollama(r#"{"model":"m","input":"a","truncate":false}"#),
            ollama(r#"{"model":"m","input":"a","truncate":true}"#),
            ollama(r#"{"model":"m","input":"a","dimensions":8}"#),
            ollama(r#"{"model":"m","input":"a","keep_alive":0}"#),
            ollama(r#"{"model":"m","input":"a","options":{"num_ctx":512}}"#),
            openai(r#"{"model":"m","input":"a","user":"u"}"#),
            openai(r#"{"model":"m","input":[1,2]}"#),
            read(Operation::OllamaEmbeddings, r#"{"model":"m","prompt":"a"}"#),
        ];
        let mut keys: Vec<_> = other.iter().map(|r| r.joining_key().unwrap()).collect();
        keys.push(plain.unwrap());
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), other.len() + 1, "{keys:?}");
        for alone in [
            ollama(r#"{"model":"m","input":""}"#),
            ollama(r#"{"model":"m","input":["a",""]}"#),
            ollama(r#"{"model":"m","input":[]}"#),
        ] {
            assert_eq!(alone.joining_key(), None, "{alone:?}");
        }
    }

    #[test]
    fn a_joined_request_asks_for_all_inputs_in_order() {
        let one = openai(r#"{"model":"m","input":["a","b"],"encoding_format":"base64"}"#);
        let two = ollama(r#"{"model":"m","input":"c"}"#);
        let joined = EmbedRequest::joined([&one, &two]).unwrap();
        let request = Request::Embed(Box::new(joined.clone()));
        let target = Target {
            operation: request.operation_on(crate::ServerKind::Ollama, crate::Dialect::Ollama),
            server: crate::ServerKind::Ollama,
        };
        assert_eq!(target.operation, Operation::OllamaEmbed);
        let body = encode_request(&target, &request).unwrap();
        assert_eq!(body, r#"{"model":"m","input":["a","b","c"]}"#);
        let target = Target {
            operation: request.operation_on(crate::ServerKind::Vllm, crate::Dialect::OpenAi),
            server: crate::ServerKind::Vllm,
        };
        let body = encode_request(&target, &request).unwrap();
        assert_eq!(
            body,
            r#"{"model":"m","input":["a","b","c"],"encoding_format":"float"}"#
        );
        assert_eq!(joined.part(1..9).inputs, &joined.inputs[1..]);
        assert!(joined.part(7..9).inputs.is_empty());
        let old = read(Operation::OllamaEmbeddings, r#"{"model":"m","prompt":"a"}"#);
        let joined = EmbedRequest::joined([&old, &old]).unwrap();
        assert_eq!(joined.source, Operation::OllamaEmbed);
    }

    #[test]
    fn tokens_are_divided_without_loss() {
        let vectors = (0..4).map(|n| Vector::from([n as f32].as_slice()));
        let answer = EmbedAnswer {
            vectors: vectors.collect(),
            usage: Usage {
                prompt_tokens: 10,
                ..Usage::default()
            },
        };
        let share = |inputs, size| EmbedShare { inputs, size };
        let shares = [share(1, 1), share(2, 1), share(1, 1)];
        let parts = answer.clone().divide(&shares).unwrap();
        let tokens: Vec<_> = parts.iter().map(|p| p.usage.prompt_tokens).collect();
        assert_eq!(tokens, [3, 3, 4]);
        assert_eq!(parts[1].vectors, answer.vectors[1..3]);
        let mut again = EmbedAnswer::default();
        for part in parts {
            again.append(part);
        }
        assert_eq!(again, answer);
        assert_eq!(answer.clone().divide(&shares[..2]), None);
        let parts = answer.divide(&[share(4, 0)]).unwrap();
        assert_eq!(parts[0].usage.prompt_tokens, 10);
    }
}
