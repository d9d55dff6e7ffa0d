//! Texts being embedded, one per turn, so that running answers keep flowing.

use std::time::Duration;

use primitives::{Clock, MonotonicTime};
use tokio::sync::oneshot;

use crate::error::EngineError;
use crate::loaded::Body;
use crate::request::{EmbedRequest, Embeddings};
use crate::tokenizer::Tokenizer;

/// A batch of texts and the vectors so far.
pub(crate) struct Embedding {
    texts: Vec<Vec<u32>>,
    vectors: Vec<Vec<f32>>,
    load: Duration,
    began: MonotonicTime,
    reply: Option<oneshot::Sender<Result<Embeddings, EngineError>>>,
}

impl Embedding {
    /// Splits the texts into tokens and checks that they fit.
    pub(crate) fn prepare(
        request: &EmbedRequest,
        tokenizer: &Tokenizer,
        context: usize,
        load: Duration,
        now: MonotonicTime,
    ) -> Result<Self, EngineError> {
        let texts = request
            .inputs
            .iter()
            .map(|text| {
                let mut tokens = tokenizer.encode(text)?;
                if tokens.is_empty() {
                    return Err(EngineError::Invalid(
                        "an empty text has no embedding with this model".to_owned(),
                    ));
                }
                if tokens.len() > context {
                    if !request.truncate {
                        return Err(EngineError::ContextOverflow {
                            prompt: tokens.len(),
                            context,
                        });
                    }
                    // The last token marks the end for models that want one.
                    let last = tokens.pop();
                    tokens.truncate(context - 1);
                    tokens.extend(last);
                }
                Ok(tokens)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            vectors: Vec::with_capacity(texts.len()),
            texts,
            load,
            began: now,
            reply: None,
        })
    }

    /// Names the caller.
    pub(crate) fn replying_to(
        mut self,
        reply: oneshot::Sender<Result<Embeddings, EngineError>>,
    ) -> Self {
        self.reply = Some(reply);
        self
    }

    /// Embeds the next text. Returns whether the batch is over.
    pub(crate) fn step(&mut self, body: &Body, clock: &dyn Clock) -> bool {
        if self.reply.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return true;
        }
        if let Some(tokens) = self.texts.get(self.vectors.len()) {
            let vector = match body {
                Body::Encoder(model) => model.embed(tokens).map_err(EngineError::from),
                Body::Decoder { model, .. } => model.embed(tokens),
            };
            match vector {
                Ok(vector) => self.vectors.push(normalised(vector)),
                Err(error) => {
                    tracing::error!(%error, "embedding failed");
                    self.fail(&error.to_string());
                    return true;
                }
            }
        }
        if self.vectors.len() < self.texts.len() {
            return false;
        }
        let embeddings = Embeddings {
            vectors: std::mem::take(&mut self.vectors),
            prompt_tokens: self.texts.iter().map(|tokens| tokens.len() as u64).sum(),
            load: self.load,
            eval: clock.monotonic().since(self.began),
        };
        if let Some(reply) = self.reply.take() {
            super::answer(reply, Ok(embeddings));
        }
        true
    }

    /// Ends the batch with an error.
    pub(crate) fn fail(&mut self, reason: &str) {
        if let Some(reply) = self.reply.take() {
            super::answer(reply, Err(EngineError::Failed(reason.to_owned())));
        }
    }
}

/// Scales a vector to length 1; a zero vector stays.
fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        for x in &mut vector {
            *x /= length;
        }
    }
    vector
}
