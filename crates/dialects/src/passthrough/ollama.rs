//! What Ollama's OpenAI and Anthropic routes skip without a word, after its source (`openai/openai.go`, `openai/responses.go`,
//! `anthropic/anthropic.go`).
//!
//! A field that Ollama's own routes honour makes the request go there instead; what it does nowhere is refused, unless the
//! table in [`hints`](crate::hints) says that the loss changes nothing. Fields that nobody knows pass: Ollama may learn them.

use serde::Deserialize;

use super::{Rewrite, content};
use crate::error::ApiError;
use crate::head::not_an_object;
use crate::hints::{check_known, says};
use crate::json::Json;
use crate::operation::Operation;
use crate::scan::Scanner;
use crate::target::Target;

/// How a field goes to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As it is: the route reads it, or loses nothing by not reading it.
    Passes,
    /// By Ollama's own route.
    OwnRoute,
}

/// What the fields of one request say together.
#[derive(Default)]
struct Found<'a> {
    by_own_route: bool,
    new_limit: Option<&'a str>,
    old_limit: Option<&'a str>,
    offers_tools: bool,
    one_call_at_a_time: bool,
}

/// Checks the fields of a request in one pass that builds nothing.
pub(super) fn check(target: Target, body: &[u8]) -> Result<Rewrite, ApiError> {
    let operation = target.operation;
    let mut found = Found::default();
    let mut refused = None;
    let walked = Scanner::new(body).and_then(|mut scanner| {
        scanner.object(|name, scanner| {
            if is_read(operation, name) {
                return scanner.skip();
            }
            let Some(value) = scanner.present()? else {
                return Some(());
            };
            found.note(operation, name, value);
            match way(operation, name, value) {
                Ok(way) => found.by_own_route |= way == Way::OwnRoute,
                Err(error) => {
                    refused.get_or_insert(error);
                }
            }
            Some(())
        })?;
        scanner.end()
    });
    if walked.is_none() {
        return Err(not_an_object(body));
    }
    if let Some(error) = refused {
        return Err(error);
    }
    // Of the Responses API's agents some say so whatever the tools; there the answer tells that Ollama did not heed it.
    if found.one_call_at_a_time && found.offers_tools && operation == Operation::OpenAiChat {
        return Err(ApiError::unsupported(
            "parallel_tool_calls",
            "Ollama may call several tools at once",
        ));
    }
    if found.by_own_route {
        return Ok(Rewrite::Translate(Target {
            operation: own_route(operation),
            ..target
        }));
    }
    Ok(match found.new_limit {
        Some(limit) if found.old_limit.is_none() => rename_limit(body, limit),
        _ => Rewrite::Unchanged,
    })
}

impl<'a> Found<'a> {
    fn note(&mut self, operation: Operation, name: &str, value: &'a str) {
        match name {
            "max_completion_tokens"
                if matches!(
                    operation,
                    Operation::OpenAiChat | Operation::OpenAiCompletions
                ) =>
            {
                self.new_limit = Some(value);
            }
            "max_tokens" => self.old_limit = Some(value),
            "tools" => self.offers_tools = !says(value, "[]"),
            "parallel_tool_calls" => self.one_call_at_a_time = value == "false",
            _ => {}
        }
    }
}

/// The route that answers a request of this operation in the same way, and reads more.
///
/// Ollama puts the prompts of `/v1/completions` through the model's template, as it does those of `/api/generate`.
const fn own_route(operation: Operation) -> Operation {
    match operation {
        Operation::OpenAiCompletions => Operation::OllamaGenerate,
        Operation::OpenAiEmbeddings => Operation::OllamaEmbed,
        _ => Operation::OllamaChat,
    }
}

/// Tells for the fields of nearly every request that the route reads them, whatever they say.
fn is_read(operation: Operation, name: &str) -> bool {
    match name {
        "model" | "stream" | "temperature" | "top_p" => true,
        "messages" => operation == Operation::OpenAiChat,
        "prompt" => operation == Operation::OpenAiCompletions,
        _ => false,
    }
}

fn way(operation: Operation, name: &str, value: &str) -> Result<Way, ApiError> {
    if let Some(way) = way_of_any(operation, name, value)? {
        return Ok(way);
    }
    let way = match operation {
        Operation::OpenAiChat => way_in_chat(name, value)?,
        Operation::OpenAiCompletions => way_in_completions(name),
        Operation::OpenAiResponses => way_in_responses(name, value)?,
        Operation::AnthropicMessages => way_in_messages(name, value)?,
        _ => None,
    };
    match way {
        Some(way) => Ok(way),
        None => check_known(operation, name, value).map(|()| Way::Passes),
    }
}

/// What several routes have in common.
fn way_of_any(operation: Operation, name: &str, value: &str) -> Result<Option<Way>, ApiError> {
    let generates = matches!(
        operation,
        Operation::OpenAiChat | Operation::OpenAiCompletions | Operation::OpenAiResponses
    );
    let why = match name {
        "keep_alive" | "num_ctx" | "options" if operation != Operation::AnthropicMessages => {
            return Ok(Some(Way::OwnRoute));
        }
        "top_k" | "min_p" | "typical_p" | "repeat_penalty" | "repetition_penalty"
        | "repeat_last_n"
            if generates =>
        {
            return Ok(Some(Way::OwnRoute));
        }
        "n" | "best_of" if generates && !says(value, "1") => "Ollama makes one answer",
        "echo" if generates && value != "false" => "Ollama does not repeat the prompt",
        "logit_bias" if generates && !says(value, "{}") => "Ollama has no such setting",
        _ => return Ok(None),
    };
    Err(ApiError::unsupported(name, why))
}

fn way_in_chat(name: &str, value: &str) -> Result<Option<Way>, ApiError> {
    Ok(Some(match name {
        "tool_choice" => tool_choice(value)?,
        "continue_final_message" if value == "true" => Way::OwnRoute,
        // Decoding knows whether the message it begins or the one it continues is meant.
        "add_generation_prompt" if value == "false" => Way::OwnRoute,
        _ => return Ok(None),
    }))
}

fn way_in_completions(name: &str) -> Option<Way> {
    matches!(name, "response_format" | "reasoning" | "reasoning_effort").then_some(Way::OwnRoute)
}

fn way_in_responses(name: &str, value: &str) -> Result<Option<Way>, ApiError> {
    let why = match name {
        "tool_choice" => return tool_choice(value).map(Some),
        "seed" | "stop" | "max_tokens" | "max_completion_tokens" | "reasoning_effort" => {
            return Ok(Some(Way::OwnRoute));
        }
        "frequency_penalty" | "presence_penalty" if !says(value, "0") => {
            return Ok(Some(Way::OwnRoute));
        }
        "input" => return content::check_response_input(value).map(|()| Some(Way::Passes)),
        "tools" => return content::check_response_tools(value).map(|()| Some(Way::Passes)),
        "text" => return text_settings(value).map(Some),
        // Read, but for a template of OpenAI's: of what is too long, Ollama leaves the beginning out whatever it says.
        "truncation" => return Ok(Some(Way::Passes)),
        "prompt" => "templates of prompts are kept by OpenAI only: send 'instructions' and 'input'",
        "response_format" => "here its name is 'text.format'",
        "logprobs" if value != "false" => "use /v1/chat/completions for log probabilities",
        "top_logprobs" if !says(value, "0") => "use /v1/chat/completions for log probabilities",
        _ => return Ok(None),
    };
    Err(ApiError::unsupported(name, why))
}

fn way_in_messages(name: &str, value: &str) -> Result<Option<Way>, ApiError> {
    match name {
        "tool_choice" => tool_choice(value).map(Some),
        "output_config" => {
            #[derive(Deserialize)]
            struct OutputConfig {
                format: Option<Json>,
            }
            // Ollama reads the effort in it only.
            let shaped = serde_json::from_str::<OutputConfig>(value)
                .is_ok_and(|config| config.format.is_some());
            Ok(Some(if shaped { Way::OwnRoute } else { Way::Passes }))
        }
        "messages" => content::check_blocks(value).map(|()| Some(Way::Passes)),
        "tools" => content::check_tools(value).map(|()| Some(Way::Passes)),
        _ => Ok(None),
    }
}

/// Refuses a choice that binds the model. Not offering tools is something Ollama's own route can say.
fn tool_choice(value: &str) -> Result<Way, ApiError> {
    #[derive(Deserialize)]
    struct Choice {
        r#type: String,
        disable_parallel_tool_use: Option<bool>,
    }
    let choice = if value.starts_with('"') {
        serde_json::from_str(value).map(|word| Choice {
            r#type: word,
            disable_parallel_tool_use: None,
        })
    } else {
        serde_json::from_str(value)
    };
    let why = match &choice {
        Ok(choice) if choice.r#type == "none" => return Ok(Way::OwnRoute),
        Ok(choice) if choice.r#type == "auto" => {
            if choice.disable_parallel_tool_use != Some(true) {
                return Ok(Way::Passes);
            }
            "Ollama may call several tools at once"
        }
        _ => "Ollama decides itself whether to call a tool",
    };
    Err(ApiError::unsupported("tool_choice", why))
}

/// Ollama reads the format in `text` only.
fn text_settings(value: &str) -> Result<Way, ApiError> {
    #[derive(Deserialize)]
    struct Text {
        verbosity: Option<Json>,
    }
    if let Ok(Text {
        verbosity: Some(verbosity),
    }) = serde_json::from_str(value)
    {
        check_known(Operation::OpenAiResponses, "verbosity", verbosity.text())?;
    }
    Ok(Way::Passes)
}

/// Puts `max_tokens` in front of the object; the name that Ollama does not know stays.
fn rename_limit(body: &[u8], limit: &str) -> Rewrite {
    let Some(brace) = memchr::memchr(b'{', body) else {
        return Rewrite::Unchanged;
    };
    let (before, after) = body.split_at(brace + 1);
    let mut out = Vec::with_capacity(body.len() + 32);
    out.extend_from_slice(before);
    out.extend_from_slice(b"\"max_tokens\":");
    out.extend_from_slice(limit.as_bytes());
    out.push(b',');
    out.extend_from_slice(after);
    Rewrite::Body(out.into())
}
