//! What an inference request asks for, whatever its dialect.

use serde_json::Value;

use super::Answer;
use super::flavour::Flavour;

/// An inference route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    OllamaChat,
    OllamaGenerate,
    Chat,
    Completions,
    Responses,
    Messages,
}

/// Returns the inference route of a path, when the flavour serves it.
pub(super) fn route(flavour: Flavour, path: &str) -> Option<Route> {
    let ollama = flavour == Flavour::Ollama;
    Some(match path {
        "/api/chat" if ollama => Route::OllamaChat,
        "/api/generate" if ollama => Route::OllamaGenerate,
        "/v1/chat/completions" => Route::Chat,
        "/v1/completions" => Route::Completions,
        "/v1/responses" if flavour != Flavour::Other => Route::Responses,
        "/v1/messages" if flavour != Flavour::Other => Route::Messages,
        _ => return None,
    })
}

/// A parsed request.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the request by itself"
)]
pub(super) struct Ask {
    pub(super) route: Route,
    pub(super) flavour: Flavour,
    pub(super) model: String,
    pub(super) stream: bool,
    /// All text before the answer, messages joined by line feeds.
    pub(super) prompt: String,
    /// The beginning of the answer that the request brings along.
    pub(super) prefill: String,
    /// Whether the answer begins by repeating that beginning.
    pub(super) repeats_prefill: bool,
    pub(super) max_tokens: Option<usize>,
    pub(super) stop: Vec<String>,
    /// Alternatives per token, when log probabilities are wanted.
    pub(super) logprobs: Option<usize>,
    pub(super) thinks: bool,
    /// The names of the offered tools.
    pub(super) tools: Vec<String>,
    pub(super) include_usage: bool,
    /// Whether the answer must be JSON.
    pub(super) constrained: bool,
    pub(super) echo: bool,
    /// Ollama's context length option, which reloads a model when it differs.
    pub(super) num_ctx: Option<u64>,
    /// Whether the request only loads (or, with `keep_alive` 0, unloads) the model.
    pub(super) empty: bool,
    pub(super) keep_alive_zero: bool,
}

/// Reads a request.
///
/// # Errors
/// Gives status and message with which the flavour refuses.
pub(super) fn read(
    flavour: Flavour,
    route: Route,
    body: &[u8],
    tokens: Option<usize>,
) -> Result<Ask, (u16, String)> {
    if body.is_empty() {
        return Err((400, "missing request body".to_owned()));
    }
    // llama-server answers malformed JSON with a server error.
    let unreadable = if flavour == Flavour::LlamaServer {
        500
    } else {
        400
    };
    let root: Value =
        serde_json::from_slice(body).map_err(|error| (unreadable, error.to_string()))?;
    let ollama = matches!(route, Route::OllamaChat | Route::OllamaGenerate);
    let settings = if ollama { &root["options"] } else { &root };
    let model = root["model"].as_str().unwrap_or_default().to_owned();
    if model.is_empty() && flavour != Flavour::LlamaServer && route != Route::OllamaGenerate {
        return Err((400, "model is required".to_owned()));
    }
    if !matches!(root["messages"], Value::Null | Value::Array(_)) {
        return Err((400, "'messages' must be a list".to_owned()));
    }
    let raw =
        route == Route::Completions || (route == Route::OllamaGenerate && root["raw"] == true);
    let messages = messages(route, &root);
    let continues = continues_last(flavour, &root);
    let (prompt, prefill) = if raw {
        let (prompt, prefill) =
            Answer::split_raw(messages.first().map_or("", |(_, text)| text), tokens);
        (prompt.to_owned(), prefill.to_owned())
    } else {
        split_messages(&messages, continues)
    };
    let stream = root["stream"].as_bool().unwrap_or(ollama);
    // llama-server leaves it out of streams that are asked for nothing else.
    let repeats_prefill =
        flavour == Flavour::LlamaServer && !raw && !(stream && wants_only_what_is_new(&root));
    let empty = match route {
        Route::OllamaGenerate => root["prompt"].as_str().unwrap_or_default().is_empty(),
        _ => messages.is_empty(),
    };
    if empty && !ollama && flavour != Flavour::LlamaServer {
        return Err((400, "[] is too short - 'messages'".to_owned()));
    }
    Ok(Ask {
        route,
        flavour,
        model,
        stream,
        prompt,
        prefill,
        repeats_prefill,
        max_tokens: max_tokens(flavour, route, settings),
        stop: strings(if route == Route::Messages {
            &root["stop_sequences"]
        } else {
            &settings["stop"]
        }),
        logprobs: logprobs(route, &root),
        thinks: thinks(flavour, route, &root),
        tools: root["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(tool_name)
            .collect(),
        include_usage: root["stream_options"]["include_usage"] == true,
        constrained: constrained(&root),
        echo: root["echo"] == true,
        num_ctx: settings["num_ctx"].as_u64().filter(|_| ollama),
        empty,
        keep_alive_zero: matches!(root["keep_alive"].as_f64(), Some(zero) if zero == 0.0)
            || matches!(root["keep_alive"].as_str(), Some("0" | "0s")),
    })
}

/// Returns the messages as pairs of role and text.
fn messages(route: Route, root: &Value) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut push = |role: &str, content: &Value| {
        let text = text_of(content);
        if !text.is_empty() {
            all.push((role.to_owned(), text));
        }
    };
    match route {
        Route::OllamaGenerate => {
            push("system", &root["system"]);
            push("user", &root["prompt"]);
        }
        Route::Completions => push("user", &root["prompt"]),
        Route::Responses => {
            push("system", &root["instructions"]);
            if root["input"].is_string() {
                push("user", &root["input"]);
            }
        }
        Route::Messages => push("system", &root["system"]),
        Route::Chat | Route::OllamaChat => {}
    }
    let list = if route == Route::Responses {
        &root["input"]
    } else {
        &root["messages"]
    };
    if !matches!(route, Route::OllamaGenerate | Route::Completions) {
        for message in list.as_array().into_iter().flatten() {
            push(
                message["role"].as_str().unwrap_or("user"),
                &message["content"],
            );
        }
    }
    all
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| {
                part.as_str()
                    .or_else(|| part["text"].as_str())
                    .or_else(|| part["content"].as_str())
            })
            .collect(),
        _ => String::new(),
    }
}

/// Returns whether a last assistant message is continued in place.
fn continues_last(flavour: Flavour, root: &Value) -> bool {
    match flavour {
        Flavour::Ollama | Flavour::LlamaServer => true,
        Flavour::Vllm => wants_only_what_is_new(root),
        Flavour::Other => false,
    }
}

fn wants_only_what_is_new(root: &Value) -> bool {
    root["continue_final_message"] == true && root["add_generation_prompt"] == false
}

fn split_messages(messages: &[(String, String)], continues: bool) -> (String, String) {
    let join = |messages: &[(String, String)]| {
        let texts: Vec<&str> = messages.iter().map(|(_, text)| text.as_str()).collect();
        texts.join("\n")
    };
    match messages {
        [before @ .., (role, text)] if continues && role == "assistant" => {
            (join(before), text.clone())
        }
        all => (join(all), String::new()),
    }
}

fn max_tokens(flavour: Flavour, route: Route, settings: &Value) -> Option<usize> {
    let field = match route {
        Route::OllamaChat | Route::OllamaGenerate => &settings["num_predict"],
        Route::Responses => &settings["max_output_tokens"],
        // Ollama's OpenAI route ignores the newer name.
        Route::Chat
            if flavour != Flavour::Ollama && settings["max_completion_tokens"].is_number() =>
        {
            &settings["max_completion_tokens"]
        }
        _ => &settings["max_tokens"],
    };
    field
        .as_u64()
        .filter(|limit| *limit > 0)
        .map(|limit| limit as usize)
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many
            .iter()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

fn logprobs(route: Route, root: &Value) -> Option<usize> {
    if route == Route::Completions {
        return root["logprobs"].as_u64().map(|top| top as usize);
    }
    (root["logprobs"] == true).then(|| root["top_logprobs"].as_u64().unwrap_or(0) as usize)
}

fn thinks(flavour: Flavour, route: Route, root: &Value) -> bool {
    match route {
        Route::OllamaChat | Route::OllamaGenerate => {
            root["think"] == true || root["think"].is_string()
        }
        Route::Chat if flavour == Flavour::Ollama => root["reasoning_effort"]
            .as_str()
            .is_some_and(|e| e != "none"),
        Route::Chat => {
            root["chat_template_kwargs"]["enable_thinking"] != false
                && root["reasoning_effort"] != "none"
        }
        _ => false,
    }
}

/// Returns whether a format of either dialect stands in the request.
fn constrained(root: &Value) -> bool {
    root["format"] == "json"
        || root["format"].is_object()
        || [
            &root["response_format"]["type"],
            &root["text"]["format"]["type"],
        ]
        .iter()
        .any(|kind| matches!(kind.as_str(), Some("json_object" | "json_schema")))
}

fn tool_name(tool: &Value) -> Option<String> {
    tool["function"]["name"]
        .as_str()
        .or_else(|| tool["name"].as_str())
        .map(str::to_owned)
}
