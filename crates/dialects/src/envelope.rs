//! Errors on the wire: the one table from error kinds to each dialect's types and bodies, and the way back from the five
//! envelopes that nodes use.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use primitives::ErrorKind;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::foreign_faults::put_right;
use crate::json::{Json, Text};
use crate::operation::{Dialect, Operation};
use crate::wire;

/// The code of errors about prompts that are longer than the context.
pub const CONTEXT_EXCEEDED: &str = "context_length_exceeded";
/// The longest text that is taken over from a body that has no known shape.
const MAX_FOREIGN_TEXT_CHARS: usize = 300;

#[derive(Serialize)]
struct OllamaBody<'a> {
    error: &'a str,
}

#[derive(Serialize)]
pub(crate) struct OpenAiBody<'a> {
    pub(crate) error: OpenAiError<'a>,
}

#[derive(Serialize)]
pub(crate) struct OpenAiError<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    r#type: &'static str,
    error: AnthropicError<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'static str,
    message: Cow<'a, str>,
}

/// Returns status, content type and body of an error response in the dialect.
///
/// `request_id` shows in Anthropic's body only; the others carry it in a header.
pub fn error_response(
    dialect: Dialect,
    error: &ApiError,
    request_id: &str,
) -> (u16, &'static str, Bytes) {
    let mut body = BytesMut::with_capacity(96 + error.message.len());
    let content_type = match dialect {
        Dialect::Ollama => {
            wire::json(
                &mut body,
                &OllamaBody {
                    error: &error.message,
                },
            );
            "application/json; charset=utf-8"
        }
        Dialect::OpenAi => {
            wire::json(
                &mut body,
                &OpenAiBody {
                    error: openai_error(error),
                },
            );
            "application/json"
        }
        Dialect::Anthropic => {
            wire::json(&mut body, &anthropic_body(error, request_id));
            "application/json"
        }
    };
    (error.kind.status(), content_type, body.freeze())
}

/// Returns the last frame of a stream that fails after its first byte.
pub fn stream_error(operation: Operation, error: &ApiError, request_id: &str) -> Bytes {
    let mut frame = BytesMut::with_capacity(128 + error.message.len());
    match operation.dialect() {
        Dialect::Ollama => wire::ndjson(
            &mut frame,
            &OllamaBody {
                error: &error.message,
            },
        ),
        Dialect::Anthropic => {
            wire::sse_event(&mut frame, "error", &anthropic_body(error, request_id));
        }
        Dialect::OpenAi => wire::sse(
            &mut frame,
            &OpenAiBody {
                error: openai_error(error),
            },
        ),
    }
    frame.freeze()
}

pub(crate) fn openai_error(error: &ApiError) -> OpenAiError<'_> {
    let code = error.code.as_deref().or(match error.kind {
        ErrorKind::Unauthenticated => Some("invalid_api_key"),
        ErrorKind::TooMany => Some("rate_limit_exceeded"),
        ErrorKind::Unsupported => Some("unsupported_parameter"),
        _ => None,
    });
    OpenAiError {
        message: &error.message,
        r#type: openai_type(error.kind),
        param: error.param.as_deref(),
        code,
    }
}

fn anthropic_body<'a>(error: &'a ApiError, request_id: &'a str) -> AnthropicBody<'a> {
    AnthropicBody {
        r#type: "error",
        error: AnthropicError {
            r#type: anthropic_type(error.kind),
            message: anthropic_message(error),
        },
        request_id,
    }
}

/// Anthropic's clients know by these words that they have to shorten the conversation.
fn anthropic_message(error: &ApiError) -> Cow<'_, str> {
    const TOO_LONG: &str = "prompt is too long";
    let says_so = error.message.contains(TOO_LONG);
    if error.code.as_deref() == Some(CONTEXT_EXCEEDED) && !says_so {
        format!("{TOO_LONG}: {}", error.message).into()
    } else {
        Cow::Borrowed(&error.message)
    }
}

/// Returns OpenAI's error type: its own names, as clients of openai.com know them.
const fn openai_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid
        | ErrorKind::TooLarge
        | ErrorKind::UnsupportedMedia
        | ErrorKind::Unprocessable
        | ErrorKind::PreconditionFailed
        | ErrorKind::Unauthenticated
        | ErrorKind::NotFound
        | ErrorKind::MethodNotAllowed
        | ErrorKind::Conflict
        | ErrorKind::Unsupported
        | ErrorKind::Cancelled => "invalid_request_error",
        ErrorKind::Forbidden => "permission_error",
        ErrorKind::TooMany => "rate_limit_error",
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Upstream | ErrorKind::Bug => {
            "server_error"
        }
    }
}

const fn anthropic_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid
        | ErrorKind::UnsupportedMedia
        | ErrorKind::Unprocessable
        | ErrorKind::PreconditionFailed
        | ErrorKind::MethodNotAllowed
        | ErrorKind::Conflict
        | ErrorKind::Unsupported
        | ErrorKind::Cancelled => "invalid_request_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::Unauthenticated => "authentication_error",
        ErrorKind::Forbidden => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::TooMany => "rate_limit_error",
        ErrorKind::Unavailable => "overloaded_error",
        ErrorKind::Timeout => "timeout_error",
        ErrorKind::Upstream | ErrorKind::Bug => "api_error",
    }
}

/// The union of the envelopes: Ollama's text, the objects of OpenAI, vLLM, llama-server and Anthropic, the bare `detail` of
/// `FastAPI` (llama-cpp-python) and the flat object of older vLLM.
#[derive(Deserialize)]
struct AnyBody<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    param: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AnyError<'a> {
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    param: Option<&'a RawValue>,
}

/// Reads a node's error response, whichever of the known envelopes it has.
///
/// The kind is that of the status: 401 and 403 are the node's verdict on the credential that was sent to the node, which is
/// not the client's.
pub fn decode_error(node: Dialect, status: u16, body: &[u8]) -> ApiError {
    let mut error = read_envelope(body).unwrap_or_else(|| {
        ApiError::upstream(foreign_text(body).unwrap_or_else(|| bare_status(status)))
    });
    error.kind = kind_of_status(status);
    // Ollama checks the types of options late and calls the client's mistake a failure of its own.
    if node == Dialect::Ollama && status == 500 && error.message.starts_with("option \"") {
        error.kind = ErrorKind::Invalid;
    }
    put_right(&mut error);
    error
}

/// Reads the error in a stream's frame, if the frame's JSON is one. The kind is `Upstream` unless the type says better.
pub(crate) fn decode_stream_error(json: &[u8]) -> Option<ApiError> {
    read_envelope(json)
}

fn read_envelope(body: &[u8]) -> Option<ApiError> {
    let any: AnyBody<'_> = serde_json::from_slice(body).ok()?;
    let (message, kind, code, param) = match any.error.map(RawValue::get) {
        Some(text) if text.starts_with('"') => (plain(text)?, None, None, None),
        Some(object) => {
            let inner: AnyError<'_> = serde_json::from_str(object).ok()?;
            let kind = inner.r#type.and_then(|raw| plain(raw.get()));
            (inner.message?.0.into_owned(), kind, inner.code, inner.param)
        }
        None => {
            let message = match any.detail {
                Some(detail) => {
                    plain(detail.get()).unwrap_or_else(|| validation_text(detail.get()))
                }
                None => any.message?.0.into_owned(),
            };
            (message, None, any.code, any.param)
        }
    };
    let mut error = ApiError::upstream(message);
    if let Some(kind) = kind.as_deref() {
        error.kind = kind_of_type(kind);
        if kind == "exceed_context_size_error" {
            error.code = Some(CONTEXT_EXCEEDED.to_owned());
        }
    }
    // vLLM and llama-server repeat the status as a number in `code`: only texts are codes.
    error.code = code.and_then(|raw| plain(raw.get())).or(error.code);
    error.param = param.and_then(|raw| plain(raw.get()));
    Some(error)
}

/// Returns the text of a JSON string.
fn plain(json: &str) -> Option<String> {
    serde_json::from_str::<String>(json).ok()
}

/// Makes a sentence of `FastAPI`'s list of validation errors.
fn validation_text(detail: &str) -> String {
    #[derive(Deserialize)]
    struct Item {
        msg: String,
        #[serde(default)]
        loc: Vec<Json>,
    }
    match serde_json::from_str::<Vec<Item>>(detail) {
        Ok(items) if !items.is_empty() => {
            let texts: Vec<String> = items
                .iter()
                .map(|item| match item.loc.last() {
                    Some(place) => format!("{}: {}", place.text().trim_matches('"'), item.msg),
                    None => item.msg.clone(),
                })
                .collect();
            texts.join("; ")
        }
        _ => detail.to_owned(),
    }
}

/// Returns the beginning of a short text body that is no markup.
fn foreign_text(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let readable =
        !text.is_empty() && !text.starts_with(['<', '{', '[']) && !text.contains(char::is_control);
    readable.then(|| text.chars().take(MAX_FOREIGN_TEXT_CHARS).collect())
}

fn bare_status(status: u16) -> String {
    format!("the node answered with status {status} and no explanation")
}

const fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        405 => ErrorKind::MethodNotAllowed,
        408 | 504 => ErrorKind::Timeout,
        409 => ErrorKind::Conflict,
        413 => ErrorKind::TooLarge,
        429 => ErrorKind::TooMany,
        499 => ErrorKind::Cancelled,
        501 => ErrorKind::Unsupported,
        503 | 529 => ErrorKind::Unavailable,
        400..=499 => ErrorKind::Invalid,
        _ => ErrorKind::Upstream,
    }
}

/// Inside a stream there is no status, only the type.
fn kind_of_type(name: &str) -> ErrorKind {
    match name {
        "invalid_request_error" | "BadRequestError" | "exceed_context_size_error" => {
            ErrorKind::Invalid
        }
        "not_found_error" | "NotFoundError" => ErrorKind::NotFound,
        "rate_limit_error" => ErrorKind::TooMany,
        "overloaded_error" | "unavailable_error" => ErrorKind::Unavailable,
        "not_supported_error" => ErrorKind::Unsupported,
        _ => ErrorKind::Upstream,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn body(dialect: Dialect, error: &ApiError) -> (u16, String) {
        let (status, _, body) = error_response(dialect, error, "req_1");
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn unknown_model_reads_as_each_dialect_says_it() {
        let ollama = ApiError::model_not_found(Operation::OllamaChat, "m");
        assert_eq!(
            body(Dialect::Ollama, &ollama),
            (404, r#"{"error":"model 'm' not found"}"#.to_owned())
        );
        let openai = ApiError::model_not_found(Operation::OpenAiChat, "m");
        assert_eq!(
            body(Dialect::OpenAi, &openai),
            (
                404,
                r#"{"error":{"message":"The model `m` does not exist or you do not have access to it.","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#
                    .to_owned()
            )
        );
        let anthropic = ApiError::model_not_found(Operation::AnthropicMessages, "m");
        assert_eq!(
            body(Dialect::Anthropic, &anthropic),
            (
                404,
                r#"{"type":"error","error":{"type":"not_found_error","message":"model: m"},"request_id":"req_1"}"#.to_owned()
            )
        );
    }

    #[test]
    fn errors_inside_streams_have_the_dialects_frame() {
        let error = ApiError::upstream("node lost").with_retry_after(Duration::from_secs(1));
        let text =
            |operation| String::from_utf8(stream_error(operation, &error, "").to_vec()).unwrap();
        assert_eq!(text(Operation::OllamaChat), "{\"error\":\"node lost\"}\n");
        assert_eq!(
            text(Operation::OpenAiChat),
            "data: {\"error\":{\"message\":\"node lost\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n"
        );
        assert_eq!(
            text(Operation::AnthropicMessages),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"node lost\"}}\n\n"
        );
    }

    #[test]
    fn the_envelopes_of_all_servers_are_read() {
        let cases: [(u16, &str, ErrorKind, &str, Option<&str>); 9] = [
            (
                404,
                r#"{"error":"model 'x' not found"}"#,
                ErrorKind::NotFound,
                "model 'x' not found",
                None,
            ),
            (
                400,
                r#"{"error":{"message":"bad","type":"BadRequestError","param":null,"code":400}}"#,
                ErrorKind::Invalid,
                "bad",
                None,
            ),
            (
                401,
                r#"{"error":"Unauthorized"}"#,
                ErrorKind::Unauthenticated,
                "Unauthorized",
                None,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":4}}"#,
                ErrorKind::Invalid,
                "too long",
                Some("context_length_exceeded"),
            ),
            (
                503,
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                ErrorKind::Unavailable,
                "Loading model",
                None,
            ),
            (
                401,
                r#"{"detail":"Invalid API key"}"#,
                ErrorKind::Unauthenticated,
                "Invalid API key",
                None,
            ),
            (
                422,
                r#"{"detail":[{"loc":["body","model"],"msg":"field required","type":"missing"}]}"#,
                ErrorKind::Invalid,
                "model: field required",
                None,
            ),
            (
                429,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"},"request_id":"r"}"#,
                ErrorKind::TooMany,
                "slow",
                None,
            ),
            (
                400,
                r#"{"object":"error","message":"old vllm","type":"BadRequestError","param":null,"code":400}"#,
                ErrorKind::Invalid,
                "old vllm",
                None,
            ),
        ];
        for (status, body, kind, message, code) in cases {
            let error = decode_error(Dialect::OpenAi, status, body.as_bytes());
            assert_eq!(
                (error.kind, error.message.as_str(), error.code.as_deref()),
                (kind, message, code)
            );
        }
    }

    #[test]
    fn bodies_without_an_envelope_still_explain_something() {
        let text = decode_error(Dialect::Ollama, 404, b"404 page not found");
        assert_eq!(
            (text.kind, text.message.as_str()),
            (ErrorKind::NotFound, "404 page not found")
        );
        for body in [&b""[..], b"<html>", b"\xff", b"{}"] {
            let error = decode_error(Dialect::OpenAi, 502, body);
            assert_eq!(
                error.message,
                "the node answered with status 502 and no explanation"
            );
        }
        let option = decode_error(
            Dialect::Ollama,
            500,
            br#"{"error":"option \"top_k\" must be of type integer"}"#,
        );
        assert_eq!(option.kind, ErrorKind::Invalid);
    }
}
