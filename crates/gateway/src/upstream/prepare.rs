//! Makes the request for a node out of the client's: the same bytes where the dialects match, translated otherwise.

use bytes::{Bytes, BytesMut};
use dialects::{
    ApiError, Dialect, Operation, Request, ResidencyChange, Rewrite, ServerKind,
    Target as DialectTarget, ask_for_usage, check_passthrough, encode_request, replace_num_ctx,
};
use scheduling::{Residency, context_to_ask};

use crate::exchange::Exchange;
use crate::fleet_view::{NodeSpeech, Replica};

/// What is sent: the client's request, or another one.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// The client's request. `may_pass` is false once bytes of an answer have gone out: then a second answer must be
    /// written by us, so that it joins the first.
    Original {
        /// Whether the node's answer may pass unchanged.
        may_pass: bool,
    },
    /// Another request in place of the client's: one that goes on after what the client already has, that asks for several
    /// clients at once, or for a part.
    Instead(Box<Request>),
}

/// A request ready for a node.
pub(crate) enum Prepared {
    /// For the embedded engine.
    Engine(Box<Request>),
    /// Nothing to generate: the model of a node that does not speak Ollama is to be loaded or unloaded.
    Residency(ResidencyChange),
    /// For a server.
    Http {
        /// The route on the node.
        operation: Operation,
        /// The body.
        body: Bytes,
        /// How the answer comes back.
        answer: Answer,
    },
}

/// What must be done with a node's answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It passes as it is but for these.
    Pass {
        /// The model's name to put in place of the node's.
        rename: Option<Box<Rename>>,
        /// Whether a usage frame that only we asked for must be taken out.
        strip_usage: bool,
    },
    /// It is decoded and written in the client's dialect.
    Translate,
}

/// The model's name in a passing answer: what the node writes and what the client wrote.
#[derive(Clone, Debug)]
pub(crate) struct Rename {
    tight: Vec<u8>,
    spaced: Vec<u8>,
    to: Vec<u8>,
}

impl Rename {
    fn new(from: &str, to: &str) -> Self {
        let quote = |name: &str| serde_json::Value::from(name).to_string();
        Self {
            tight: format!("\"model\":{}", quote(from)).into_bytes(),
            spaced: format!("\"model\": {}", quote(from)).into_bytes(),
            to: format!("\"model\":{}", quote(to)).into_bytes(),
        }
    }

    /// Renames the model in one frame or body.
    ///
    /// The first place where the key and the name stand together is the answer's own field: every dialect writes it
    /// before the content, and inside of strings the quotes would be escaped.
    pub(crate) fn apply(&self, frame: Bytes) -> Bytes {
        for from in [&self.tight, &self.spaced] {
            if let Some(at) = memchr::memmem::find(&frame, from) {
                let mut renamed = BytesMut::with_capacity(frame.len() + self.to.len());
                renamed.extend_from_slice(&frame[..at]);
                renamed.extend_from_slice(&self.to);
                renamed.extend_from_slice(&frame[at + from.len()..]);
                return renamed.freeze();
            }
        }
        frame
    }
}

/// Prepares the request for a replica.
pub(crate) fn prepare(
    exchange: &mut Exchange,
    replica: &Replica,
    wanted: &Wanted,
) -> Result<Prepared, ApiError> {
    let num_ctx = loaded_context(exchange, replica);
    if exchange.asked.num_ctx.is_some() {
        exchange.standing.lock().num_ctx = num_ctx;
    }
    let speaks_ollama = matches!(
        replica.node.speech,
        NodeSpeech::Http {
            dialect: Dialect::Ollama,
            ..
        }
    );
    if exchange.asked.empty_prompt
        && !speaks_ollama
        && let Some(change) = exchange.canonical()?.residency()
    {
        return Ok(Prepared::Residency(change));
    }
    let NodeSpeech::Http { dialect, server } = replica.node.speech else {
        let mut request = match wanted {
            Wanted::Original { .. } => exchange.canonical()?.clone(),
            Wanted::Instead(request) => request.as_ref().clone(),
        };
        request.set_model(&replica.model.name);
        return Ok(Prepared::Engine(Box::new(request)));
    };
    let target = match wanted {
        Wanted::Original { may_pass: true } => {
            let native = dialects::native_operation(exchange.operation, server, dialect);
            let target = DialectTarget {
                operation: native,
                server,
            };
            if native == exchange.operation {
                match check_passthrough(&target, &exchange.body)? {
                    Rewrite::Unchanged => return pass(exchange, replica, native, None, num_ctx),
                    Rewrite::Body(body) => {
                        return pass(exchange, replica, native, Some(body), num_ctx);
                    }
                    Rewrite::Translate(target) => Some(target),
                }
            } else {
                None
            }
        }
        Wanted::Original { may_pass: false } | Wanted::Instead(_) => None,
    };
    let mut request = match wanted {
        Wanted::Original { .. } => exchange.canonical()?.clone(),
        Wanted::Instead(request) => request.as_ref().clone(),
    };
    request.set_model(&replica.model.name);
    if let Some(num_ctx) = num_ctx {
        request.set_num_ctx(num_ctx);
    }
    if let Some(generation) = request.generation_mut() {
        // For our own books; the client's wish is kept by the encoder.
        generation.include_usage = true;
    }
    let target = target.unwrap_or_else(|| DialectTarget {
        operation: request.operation_on(server, dialect),
        server,
    });
    Ok(Prepared::Http {
        operation: target.operation,
        body: encode_request(&target, &request)?,
        answer: Answer::Translate,
    })
}

fn pass(
    exchange: &Exchange,
    replica: &Replica,
    operation: Operation,
    rewritten: Option<Bytes>,
    num_ctx: Option<u32>,
) -> Result<Prepared, ApiError> {
    let asked = &exchange.asked;
    let span = match &rewritten {
        None => asked.model_span.clone(),
        Some(body) => dialects::read_head(operation, body)?.model_span,
    };
    let mut body = rewritten.unwrap_or_else(|| Bytes::clone(&exchange.body));
    let renames = !replica.answers_to(&asked.model);
    if renames && let Some(span) = span {
        body = dialects::replace_model(&body, span, &replica.model.name);
    }
    if let Some(replaced) = num_ctx.and_then(|n| replace_num_ctx(operation, &body, n)) {
        body = replaced;
    }
    let may_ask = matches!(
        operation,
        Operation::OpenAiChat | Operation::OpenAiCompletions
    );
    let wished = (asked.stream && !asked.include_usage && may_ask)
        .then(|| ask_for_usage(&body))
        .flatten();
    let strip_usage = wished.is_some();
    body = wished.unwrap_or(body);
    Ok(Prepared::Http {
        operation,
        body,
        answer: Answer::Pass {
            rename: renames.then(|| Box::new(Rename::new(&replica.model.name, &asked.model))),
            strip_usage,
        },
    })
}

/// Returns the context that the model is loaded with, when the client asks for a smaller one: everything fits into it, and
/// another number would make Ollama load the model again.
fn loaded_context(exchange: &Exchange, replica: &Replica) -> Option<u32> {
    let asked = exchange.asked.num_ctx?;
    let reloads = matches!(
        replica.node.speech,
        NodeSpeech::Http {
            server: ServerKind::Ollama,
            ..
        }
    );
    match replica.residency {
        Residency::Loaded {
            context: Some(loaded),
        } if reloads => Some(context_to_ask(asked, loaded)).filter(|context| *context != asked),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_model_field_is_renamed_and_content_is_left_alone() {
        let rename = Rename::new("llama3:8b", "best");
        let frame = Bytes::from_static(
            br#"data: {"id":"1","model":"llama3:8b","choices":[{"delta":{"content":"\"model\":\"llama3:8b\""}}]}"#,
        );
        assert_eq!(
            rename.apply(frame),
            r#"data: {"id":"1","model":"best","choices":[{"delta":{"content":"\"model\":\"llama3:8b\""}}]}"#
        );
        let spaced = Bytes::from_static(br#"{"model": "llama3:8b"}"#);
        assert_eq!(rename.apply(spaced), r#"{"model":"best"}"#);
        let other = Bytes::from_static(br#"{"model":"x"}"#);
        assert_eq!(rename.apply(other.clone()), other);
    }
}
