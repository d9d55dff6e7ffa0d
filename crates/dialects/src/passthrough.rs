//! Guards bytes that pass: some servers silently ignore fields that change the answer.
//!
//! Ollama's OpenAI and Anthropic routes read a part of the dialect and skip the rest without a word; llama-cpp-python skips
//! the encoding of embeddings. The other servers honour what they know and refuse what they do not.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::head::span_in;
use crate::json::{Object, body_object};
use crate::operation::Operation;
use crate::target::{ServerKind, Target};

/// What must happen to a request body before it goes to a node that speaks the client's dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing.
    Unchanged,
    /// This body goes instead.
    Body(Bytes),
    /// The node honours the request only on another route: decode, and encode for this target.
    Translate(Target),
}

/// The names that make a full look necessary. A text that quotes one only costs time.
static SUSPECTS: LazyLock<[Finder<'static>; 13]> = LazyLock::new(|| {
    [
        "\"max_completion_tokens\"",
        "\"tool_choice\"",
        "\"parallel_tool_calls\"",
        "\"n\"",
        "\"best_of\"",
        "\"echo\"",
        "\"logit_bias\"",
        "\"keep_alive\"",
        "\"num_ctx\"",
        "\"options\"",
        "\"top_k\"",
        "\"min_p\"",
        "\"repeat_penalty\"",
    ]
    .map(Finder::new)
});

static TOOL_CHOICE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"tool_choice\""));
static BASE64: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"base64\""));

/// Checks a request that passes to a node as it is.
///
/// # Errors
/// `Unsupported`, naming the field, for what the node would silently ignore on every route it has.
pub fn check_passthrough(target: &Target, body: &[u8]) -> Result<Rewrite, ApiError> {
    match (target.server, target.operation) {
        (ServerKind::Ollama, Operation::OpenAiChat | Operation::OpenAiCompletions)
            if SUSPECTS.iter().any(|name| name.find(body).is_some()) =>
        {
            check_ollama(*target, &body_object(body)?, body)
        }
        (ServerKind::Ollama, Operation::AnthropicMessages | Operation::OpenAiResponses)
            if TOOL_CHOICE.find(body).is_some() =>
        {
            forced_tool(&body_object(body)?).map(|()| Rewrite::Unchanged)
        }
        (ServerKind::LlamaCppPython, Operation::OpenAiEmbeddings)
            if BASE64.find(body).is_some() =>
        {
            Ok(Rewrite::Translate(*target))
        }
        _ => Ok(Rewrite::Unchanged),
    }
}

/// Refuses a choice of tool that Ollama's newer routes ignore.
fn forced_tool(Object(fields): &Object<'_>) -> Result<(), ApiError> {
    let forced = fields.iter().any(|(name, value)| {
        let free = ["\"auto\"", "\"none\""]
            .iter()
            .any(|word| value.get().contains(word));
        name == "tool_choice" && !free
    });
    if forced {
        return Err(ApiError::unsupported(
            "tool_choice",
            "Ollama decides itself whether to call a tool",
        ));
    }
    Ok(())
}

fn check_ollama(
    target: Target,
    Object(fields): &Object<'_>,
    body: &[u8],
) -> Result<Rewrite, ApiError> {
    let mut limit = None;
    let mut has_max_tokens = false;
    let mut translate = false;
    for (name, value) in fields {
        let text = value.get();
        match &**name {
            "max_completion_tokens" => limit = Some(*value),
            "max_tokens" => has_max_tokens = true,
            "tool_choice" if !matches!(text, "\"auto\"" | "\"none\"") => {
                return Err(ApiError::unsupported(
                    "tool_choice",
                    "Ollama decides itself whether to call a tool",
                ));
            }
            // Not offering tools is something its own route can say.
            "tool_choice" => translate |= text == "\"none\"",
            "parallel_tool_calls" if text == "false" => {
                return Err(ApiError::unsupported(
                    "parallel_tool_calls",
                    "Ollama may call several tools at once",
                ));
            }
            "n" | "best_of" if text != "1" => {
                return Err(ApiError::unsupported(&**name, "Ollama makes one answer"));
            }
            "echo" if text == "true" => {
                return Err(ApiError::unsupported(
                    "echo",
                    "Ollama does not repeat the prompt",
                ));
            }
            "logit_bias" if text != "{}" => {
                return Err(ApiError::unsupported(
                    "logit_bias",
                    "Ollama has no such setting",
                ));
            }
            "keep_alive" | "num_ctx" | "options" | "top_k" | "min_p" | "repeat_penalty" => {
                translate = true;
            }
            _ => {}
        }
    }
    // What Ollama calls a completion has a template on this route; on the other, only raw prompts come without one.
    if translate && target.operation == Operation::OpenAiChat {
        return Ok(Rewrite::Translate(Target {
            operation: Operation::OllamaChat,
            ..target
        }));
    }
    match limit {
        Some(value) if !has_max_tokens => Ok(rename_limit(body, value)),
        _ => Ok(Rewrite::Unchanged),
    }
}

/// Puts `max_tokens` in front of the object; the name that Ollama does not know stays.
fn rename_limit(body: &[u8], value: &RawValue) -> Rewrite {
    let Some(brace) = memchr::memchr(b'{', body) else {
        return Rewrite::Unchanged;
    };
    debug_assert!(span_in(body, value.get()).is_some());
    let (before, after) = body.split_at(brace + 1);
    let mut out = Vec::with_capacity(body.len() + 32);
    out.extend_from_slice(before);
    out.extend_from_slice(b"\"max_tokens\":");
    out.extend_from_slice(value.get().as_bytes());
    out.push(b',');
    out.extend_from_slice(after);
    Rewrite::Body(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLLAMA: Target = Target {
        operation: Operation::OpenAiChat,
        server: ServerKind::Ollama,
    };

    #[test]
    fn ordinary_requests_and_other_servers_are_left_alone() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"a"}],"temperature":1}"#;
        assert_eq!(check_passthrough(&OLLAMA, body), Ok(Rewrite::Unchanged));
        let vllm = Target {
            server: ServerKind::Vllm,
            ..OLLAMA
        };
        assert_eq!(
            check_passthrough(&vllm, br#"{"n":3}"#),
            Ok(Rewrite::Unchanged)
        );
        let quoted =
            br#"{"model":"m","messages":[{"role":"user","content":"\"n\" and \"top_k\""}]}"#;
        assert_eq!(check_passthrough(&OLLAMA, quoted), Ok(Rewrite::Unchanged));
    }

    #[test]
    fn the_new_name_of_the_token_limit_is_understood() {
        let body = br#" {"model":"m","max_completion_tokens":7}"#;
        let Ok(Rewrite::Body(body)) = check_passthrough(&OLLAMA, body) else {
            panic!()
        };
        assert_eq!(
            body,
            r#" {"max_tokens":7,"model":"m","max_completion_tokens":7}"#
        );
    }

    #[test]
    fn what_ollama_would_ignore_is_refused_or_goes_by_its_own_route() {
        for (field, value) in [
            ("n", "2"),
            ("tool_choice", "\"required\""),
            ("logit_bias", "{\"5\":1}"),
            ("parallel_tool_calls", "false"),
        ] {
            let body = format!("{{\"{field}\":{value}}}");
            let error = check_passthrough(&OLLAMA, body.as_bytes()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(field));
        }
        for body in [
            r#"{"keep_alive":"5m"}"#,
            r#"{"options":{"num_ctx":8}}"#,
            r#"{"tool_choice":"none"}"#,
        ] {
            let target = Target {
                operation: Operation::OllamaChat,
                ..OLLAMA
            };
            assert_eq!(
                check_passthrough(&OLLAMA, body.as_bytes()),
                Ok(Rewrite::Translate(target))
            );
        }
        let messages = Target {
            operation: Operation::AnthropicMessages,
            ..OLLAMA
        };
        assert!(check_passthrough(&messages, br#"{"tool_choice":{"type":"any"}}"#).is_err());
        assert!(check_passthrough(&messages, br#"{"tool_choice":{"type":"auto"}}"#).is_ok());
    }

    #[test]
    fn base64_is_made_here_where_the_server_cannot() {
        let target = Target {
            operation: Operation::OpenAiEmbeddings,
            server: ServerKind::LlamaCppPython,
        };
        let body = br#"{"model":"m","input":"a","encoding_format":"base64"}"#;
        assert_eq!(
            check_passthrough(&target, body),
            Ok(Rewrite::Translate(target))
        );
    }
}
