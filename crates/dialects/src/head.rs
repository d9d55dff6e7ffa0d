//! The head of a request: what admission and routing must know, read without building anything.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;

use crate::error::ApiError;
use crate::json::{Text, body_object, field_text};
use crate::name::check_name;
use crate::operation::{Dialect, Operation};
use crate::scan::Scanner;

/// What routing must know about a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a request"
)]
pub struct Head<'a> {
    /// The model's name.
    pub model: Option<Cow<'a, str>>,
    /// Where in the body the model's JSON string stands, quotes included.
    pub model_span: Option<Range<usize>>,
    /// Whether the client asked for a stream; `None` when it did not say.
    pub stream: Option<bool>,
    /// Whether the client asked for usage at the end of an OpenAI stream.
    pub include_usage: bool,
    /// The raw JSON of `messages`, `prompt` or `input`; empty when absent.
    pub prompt: &'a [u8],
    /// Ollama's `options.num_ctx`.
    pub num_ctx: Option<u64>,
    /// The most tokens to generate, where the client set a limit.
    pub max_tokens: Option<u64>,
    /// Whether functions are offered to the model.
    pub has_tools: bool,
    /// Whether the answer must have a shape.
    pub has_format: bool,
    /// Whether the prompt seems to have images. May be true for a text that only quotes the field's name.
    pub has_images: bool,
    /// Whether there is no prompt: load or unload in Ollama, an error in OpenAI.
    pub has_empty_prompt: bool,
}

/// Every dialect's name of an image begins like this: `images`, `image_url`, `image`, `input_image` excepted.
static IMAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"image"));
static INPUT_IMAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"input_image"));

/// Reads the head of a request body, whatever its content type.
///
/// The whole body is checked to be JSON; unknown fields are skipped.
///
/// # Errors
/// When the body is missing, is not a JSON object, or a field of the head has the wrong type.
pub fn read_head(operation: Operation, body: &[u8]) -> Result<Head<'_>, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::invalid("missing request body"));
    }
    let mut head = RawHead::default();
    match head.read(operation, body) {
        Some(()) => head.into_head(operation, body),
        None => Err(not_an_object(body)),
    }
}

/// Returns the body with another model name in place of the JSON string at `span`, everything else unchanged.
///
/// A span that does not lie in the body leaves it as it is.
pub fn replace_model(body: &[u8], span: Range<usize>, model: &str) -> Bytes {
    let (Some(before), Some(after)) = (body.get(..span.start), body.get(span.end..)) else {
        return Bytes::copy_from_slice(body);
    };
    let mut out = Vec::with_capacity(body.len() + model.len() + 2);
    out.extend_from_slice(before);
    out.extend_from_slice(serde_json::Value::from(model).to_string().as_bytes());
    out.extend_from_slice(after);
    out.into()
}

/// Says why a body is not a JSON object.
pub(crate) fn not_an_object(body: &[u8]) -> ApiError {
    match body_object(body) {
        Err(error) => error,
        Ok(_) => ApiError::invalid("the request body is nested too deeply"),
    }
}

/// The fields of a head as text, before any of them is read. Nulls count as absent.
#[derive(Default)]
struct RawHead<'a> {
    model: Option<&'a str>,
    misspelt_model: Option<String>,
    stream: Option<&'a str>,
    stream_options: Option<&'a str>,
    prompt: Option<&'a str>,
    images: bool,
    options: Option<&'a str>,
    max_tokens: Option<&'a str>,
    tools: Option<&'a str>,
    format: Option<&'a str>,
}

impl<'a> RawHead<'a> {
    /// Walks over the body. `None` when it is not a JSON object.
    fn read(&mut self, operation: Operation, body: &'a [u8]) -> Option<()> {
        let prompt_field = prompt_field(operation);
        let mut scanner = Scanner::new(body)?;
        scanner.object(|key, scanner| {
            let place = match key {
                "model" => &mut self.model,
                "stream" => &mut self.stream,
                "stream_options" => &mut self.stream_options,
                "options" => &mut self.options,
                "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {
                    &mut self.max_tokens
                }
                "tools" => &mut self.tools,
                "format" | "response_format" | "text" | "output_config" => &mut self.format,
                name if name == prompt_field => &mut self.prompt,
                "images" => {
                    let images = scanner.present()?;
                    self.images = images.is_some_and(|json| !is_empty(json.as_bytes()));
                    return Some(());
                }
                name => {
                    if name.eq_ignore_ascii_case("model") {
                        self.misspelt_model = Some(name.to_owned());
                    }
                    return scanner.skip();
                }
            };
            *place = scanner.present()?;
            Some(())
        })?;
        scanner.end()
    }

    fn into_head(self, operation: Operation, body: &'a [u8]) -> Result<Head<'a>, ApiError> {
        // Go reads keys without case: a second spelling would let a client name one model to us and another to the node.
        if let Some(name) = self.misspelt_model {
            return Err(ApiError::invalid_field(
                "model",
                format!("write 'model' instead of '{name}'"),
            ));
        }
        let options: Options = match self.options {
            Some(json) if operation.dialect() == Dialect::Ollama => {
                serde_json::from_str(json).unwrap_or_default()
            }
            _ => Options::default(),
        };
        let stream_options: StreamOptions = self
            .stream_options
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default();
        let prompt = self.prompt.unwrap_or_default().as_bytes();
        let model = self
            .model
            .map(|json| field_text::<Text<'a>>("model", json))
            .transpose()?
            .map(|text| text.0);
        check_name(model.as_deref().unwrap_or_default())?;
        Ok(Head {
            model_span: self.model.and_then(|json| span_in(body, json)),
            model,
            stream: self
                .stream
                .map(|json| field_text("stream", json))
                .transpose()?,
            include_usage: stream_options.include_usage.unwrap_or(false),
            prompt,
            num_ctx: options.num_ctx.and_then(whole),
            max_tokens: self
                .max_tokens
                .and_then(|json| serde_json::from_str(json).ok())
                .or(options.num_predict)
                .and_then(whole),
            has_tools: self.tools.is_some_and(|json| !is_empty(json.as_bytes())),
            has_format: self.format.is_some_and(|json| has_shape(operation, json)),
            has_images: self.images
                || IMAGE.find(prompt).is_some()
                || INPUT_IMAGE.find(prompt).is_some(),
            has_empty_prompt: is_empty(prompt),
        })
    }
}

/// Reads a count that clients also write as `128.0`. Negative ones mean "no limit".
fn whole(number: f64) -> Option<u64> {
    (number >= 0.0).then_some(number as u64)
}

/// Tells whether a raw value is absent, an empty string or an empty array.
fn is_empty(json: &[u8]) -> bool {
    match json {
        b"" | b"\"\"" => true,
        [b'[', inner @ .., b']'] => inner.iter().all(u8::is_ascii_whitespace),
        _ => false,
    }
}

fn has_shape(operation: Operation, json: &str) -> bool {
    match operation {
        Operation::OllamaChat | Operation::OllamaGenerate => json != "\"\"",
        // `text` and `output_config` say other things too.
        _ => json.contains("\"json_object\"") || json.contains("\"json_schema\""),
    }
}

/// Finds where `part`, a slice of `whole`, begins and ends.
pub(crate) fn span_in(whole: &[u8], part: &str) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

#[derive(Default, Deserialize)]
struct Options {
    num_ctx: Option<f64>,
    num_predict: Option<f64>,
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// Names the field that holds what the model is to read.
const fn prompt_field(operation: Operation) -> &'static str {
    match operation {
        Operation::OllamaChat | Operation::OpenAiChat | Operation::AnthropicMessages => "messages",
        Operation::OllamaGenerate | Operation::OllamaEmbeddings | Operation::OpenAiCompletions => {
            "prompt"
        }
        Operation::OllamaEmbed | Operation::OpenAiEmbeddings | Operation::OpenAiResponses => {
            "input"
        }
    }
}

#[cfg(test)]
mod tests {
    use primitives::ErrorKind;
    use proptest::prelude::{
        Just, Strategy, any, prop_assert_eq, prop_assume, prop_oneof, proptest,
    };

    use super::*;

    #[test]
    fn everything_routing_needs_is_found() {
        let body = br#" {"keep_alive":5,"model":"a\"b","messages":[{"role":"user","content":"hi","images":["x"]}],
            "options":{"num_ctx":4096,"num_predict":-1,"x":[]},"stream":false,"tools":[{}],"format":"json"} "#;
        let head = read_head(Operation::OllamaChat, body).unwrap();
        assert_eq!(head.model.as_deref(), Some("a\"b"));
        assert_eq!(&body[head.model_span.unwrap()], br#""a\"b""#);
        assert_eq!(head.stream, Some(false));
        assert_eq!((head.num_ctx, head.max_tokens), (Some(4096), None));
        assert!(head.has_tools && head.has_format && head.has_images && !head.has_empty_prompt);
        assert!(head.prompt.starts_with(b"[{"));
    }

    #[test]
    fn openai_fields_are_found_under_their_names() {
        let body =
            br#"{"model":"m","input":[ ],"max_output_tokens":7,"text":{"format":{"type":"text"}},
            "stream":true,"stream_options":{"include_usage":true}}"#;
        let head = read_head(Operation::OpenAiResponses, body).unwrap();
        assert_eq!(
            (head.max_tokens, head.stream, head.include_usage),
            (Some(7), Some(true), true)
        );
        assert!(head.has_empty_prompt && !head.has_format && !head.has_tools);
    }

    #[test]
    fn wrong_bodies_are_refused_with_a_reason() {
        let refused = |body: &[u8]| read_head(Operation::OpenAiChat, body).unwrap_err();
        assert_eq!(refused(b"  ").message, "missing request body");
        for body in [
            &b"{"[..],
            b"[]",
            b"{\"model\":\"m\"} x",
            b"{\"messages\":[\"\xff\"]}",
        ] {
            assert_eq!(refused(body).kind, ErrorKind::Invalid);
        }
        assert_eq!(refused(br#"{"model":7}"#).param.as_deref(), Some("model"));
        assert_eq!(
            refused(br#"{"stream":"yes"}"#).param.as_deref(),
            Some("stream")
        );
        assert_eq!(
            refused(br#"{"model":"mine","Model":"theirs"}"#).message,
            "write 'model' instead of 'Model'"
        );
    }

    #[test]
    fn another_model_is_spliced_in() {
        let body = br#"{"a":1, "model": "m" ,"b":2}"#;
        let span = read_head(Operation::OpenAiChat, body)
            .unwrap()
            .model_span
            .unwrap();
        assert_eq!(
            &replace_model(body, span, "n\"x")[..],
            br#"{"a":1, "model": "n\"x" ,"b":2}"#
        );
        assert_eq!(&replace_model(body, 90..95, "n")[..], body);
    }

    proptest! {
        #[test]
        fn heads_agree_with_a_full_parse(
            model in any::<String>(),
            stream in prop_oneof![Just(None), any::<bool>().prop_map(Some)],
            prompt in any::<String>(),
            other in any::<String>(),
        ) {
            prop_assume!(!["model", "stream", "prompt"].contains(&other.to_lowercase().as_str()));
            let body = serde_json::json!({ other: &prompt, "model": model, "stream": stream, "prompt": &prompt });
            let text = body.to_string();
            let head = read_head(Operation::OllamaGenerate, text.as_bytes()).unwrap();
            prop_assert_eq!(head.model.as_deref(), Some(model.as_str()));
            prop_assert_eq!(head.stream, stream);
            prop_assert_eq!(serde_json::from_slice::<String>(head.prompt).unwrap(), prompt.clone());
            let swapped = replace_model(text.as_bytes(), head.model_span.unwrap(), "other");
            let swapped: serde_json::Value = serde_json::from_slice(&swapped).unwrap();
            prop_assert_eq!(swapped["model"].as_str(), Some("other"));
            prop_assert_eq!(swapped["prompt"].as_str(), Some(prompt.as_str()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for operation in Operation::ALL {
                let accepted = read_head(operation, &body).is_ok();
                prop_assert_eq!(accepted, accepted && serde_json::from_slice::<serde_json::Value>(&body).is_ok());
            }
        }
    }
}
