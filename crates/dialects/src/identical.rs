//! Requests that ask for the very same answer.

use std::fmt::Write as _;

use crate::canonical::Request;
use crate::error::ApiError;
use crate::json::{Json, body_object};
use crate::operation::Operation;
use crate::request::decode_request;

/// Returns a text that two requests of one operation have in common exactly when one answer may serve both: their bodies are
/// the same but for white space and the order of the outermost fields, and the answer is determined by them, because the
/// temperature is 0 or a seed is set.
///
/// `None` for all others, and for requests with tools, for several answers at once, for those that load or unload a model, for
/// embeddings and for `/v1/responses`, which may refer to an earlier answer.
///
/// # Errors
/// As [`decode_request`].
pub fn identity_key(operation: Operation, body: &[u8]) -> Result<Option<String>, ApiError> {
    let request = match operation {
        Operation::OpenAiResponses
        | Operation::OllamaEmbed
        | Operation::OllamaEmbeddings
        | Operation::OpenAiEmbeddings => return Ok(None),
        _ => decode_request(operation, body)?,
    };
    if !is_determined(&request) {
        return Ok(None);
    }
    let mut fields = body_object(body)?.0;
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut key = operation.as_str().to_owned();
    for (name, raw) in fields {
        let Some(value) = Json::parse_compact(raw.get()) else {
            return Ok(None);
        };
        // A name's quotes and escapes keep it apart from its value.
        let _infallible = write!(key, "\n{name:?}:{}", value.text());
    }
    Ok(Some(key))
}

fn is_determined(request: &Request) -> bool {
    let offers_tools = match request {
        Request::Chat(chat) => !chat.tools.is_empty() || chat.messages.is_empty(),
        Request::Completion(completion) => {
            completion.best_of.is_some_and(|n| n > 1) || request.residency().is_some()
        }
        Request::Embed(_) => true,
    };
    let Some(sampling) = request.generation().map(|generation| &generation.sampling) else {
        return false;
    };
    let cold = sampling.temperature.is_some_and(|t| t.abs() < f64::EPSILON);
    !offers_tools && (cold || sampling.seed.is_some()) && sampling.n.is_none_or(|n| n <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: &str) -> Option<String> {
        identity_key(Operation::OpenAiChat, body.as_bytes()).unwrap()
    }

    #[test]
    fn only_determined_answers_are_shared_and_only_with_the_same_request() {
        let key =
            chat(r#"{"model":"m","temperature":0,"messages":[{"role":"user","content":"a b"}]}"#);
        assert!(key.is_some());
        let same = chat(
            r#"{ "temperature": 0, "messages": [ {"role":"user", "content":"a b"} ], "model":"m" }"#,
        );
        assert_eq!(key, same);
        for other in [
            r#"{"model":"m","temperature":0,"messages":[{"role":"user","content":"a  b"}]}"#,
            r#"{"model":"m","temperature":0,"stream":true,"messages":[{"role":"user","content":"a b"}]}"#,
            r#"{"model":"n","temperature":0,"messages":[{"role":"user","content":"a b"}]}"#,
            r#"{"model":"m","seed":1,"messages":[{"role":"user","content":"a b"}]}"#,
        ] {
            let other = chat(other);
            assert!(other.is_some() && other != key, "{other:?}");
        }
        for free in [
            r#"{"model":"m","messages":[{"role":"user","content":"a b"}]}"#,
            r#"{"model":"m","temperature":0.5,"messages":[{"role":"user","content":"a b"}]}"#,
            r#"{"model":"m","temperature":0,"n":2,"messages":[{"role":"user","content":"a b"}]}"#,
            r#"{"model":"m","temperature":0,"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f"}}]}"#,
        ] {
            assert_eq!(chat(free), None, "{free}");
        }
        let ollama = |body: &str| identity_key(Operation::OllamaGenerate, body.as_bytes()).unwrap();
        assert!(ollama(r#"{"model":"m","prompt":"a","options":{"seed":7}}"#).is_some());
        assert_eq!(ollama(r#"{"model":"m","options":{"seed":7}}"#), None);
        assert!(identity_key(Operation::OpenAiChat, b"[]").is_err());
    }
}
