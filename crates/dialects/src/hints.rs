//! The one table of fields that may be lost, and why nobody is misled by that.
//!
//! A field that only its own dialect knows is passed on word for word when the request stays in its operation. When it is
//! translated, a field in this table is dropped; any other is refused by name. What may be dropped never changes what the
//! answer says: accounting labels, cache and scheduling hints, and values that ask for what happens anyway.
//!
//! The same table guards requests that pass to servers which skip unknown fields without a word: there only what it names is
//! refused (`passthrough`), since a later version may know fields that we don't.
//!
//! Dropped without standing here, because the canonical request has a place for them: `keep_alive` and Ollama's load-time
//! options (`num_ctx`, `num_gpu`, …, and options that Ollama itself only warns about) on nodes that are not Ollama. They
//! steer routing here instead.

use crate::error::ApiError;
use crate::json::Fields;
use crate::operation::{Dialect, Operation};

/// When a field may be dropped.
enum Droppable {
    /// Whatever its value.
    Always,
    /// When it has one of these values (JSON text); any other is refused, with this reason.
    Only(&'static [&'static str], &'static str),
    /// Unless this text is in its value; then it is refused, with this reason.
    Without(&'static str, &'static str),
}

use Droppable::{Always, Only, Without};

const NO_FIELD: &str = "the node that has this model speaks another API, which has no such field";
const NO_SETTING: &str = "the node that has this model has no such setting";
const SHAPE: &str = "say which shape the answer must have with 'response_format' and a JSON schema";
const STATELESS: &str =
    "nothing is kept from one call to the next: send the whole conversation, and 'store' as false";
const TEXT: &str = "the model answers in text";
const TEMPLATE: &str = "the model's own template is used";
const LIMIT: &str = "the limit of an answer is 'max_tokens'";
const OLLAMA_ROUTE: &str = "Ollama's /api/generate takes it";
const OTHER_DIALECT: &str =
    "Anthropic's API has no such field; /v1/chat/completions and /api/chat take it";

// Each table is sorted by name, because it is searched for every field of a request.

const OLLAMA: &[(&str, Droppable)] = &[
    ("_debug_render_only", Only(&["false"], NO_SETTING)),
    // OpenAI-like servers answer an over-long prompt with an error instead of cutting it: nothing silent.
    ("shift", Always),
    ("truncate", Always),
];

/// OpenAI's own fields, and those with which vLLM, llama.cpp and Ollama extend them.
const OPENAI: &[(&str, Droppable)] = &[
    ("add_generation_prompt", Only(&["true"], TEMPLATE)),
    ("allowed_token_ids", Only(&[], NO_SETTING)),
    ("audio", Only(&[], TEXT)),
    (
        "background",
        Only(&["false"], "answers are made while the client waits"),
    ),
    ("bad_words", Only(&["[]"], NO_SETTING)),
    ("cache_prompt", Always),
    ("chat_template", Only(&[], TEMPLATE)),
    (
        "chat_template_kwargs",
        Only(
            &["{}"],
            "the model's own template is used; 'reasoning_effort' says how much it thinks",
        ),
    ),
    ("client_metadata", Always),
    ("context", Only(&["[]"], OLLAMA_ROUTE)),
    (
        "context_management",
        Only(&["[]"], "the conversation is not shortened"),
    ),
    ("conversation", Only(&[], STATELESS)),
    ("documents", Only(&["[]"], TEMPLATE)),
    ("dry_multiplier", Only(&["0"], NO_SETTING)),
    ("dynatemp_range", Only(&["0"], NO_SETTING)),
    ("format", Only(&["\"\""], SHAPE)),
    (
        "function_call",
        Only(&["\"auto\"", "\"none\""], "use 'tools' and 'tool_choice'"),
    ),
    ("functions", Only(&["[]"], "use 'tools'")),
    ("grammar", Only(&["\"\""], SHAPE)),
    ("guided_choice", Only(&[], SHAPE)),
    ("guided_grammar", Only(&[], SHAPE)),
    ("guided_json", Only(&[], SHAPE)),
    ("guided_regex", Only(&[], SHAPE)),
    ("ignore_eos", Only(&["false"], NO_SETTING)),
    ("images", Only(&["[]"], OLLAMA_ROUTE)),
    // What else can be included comes with the answer or belongs to tools that OpenAI runs.
    (
        "include",
        Without(
            "\"message.output_text.logprobs\"",
            "use /v1/chat/completions for log probabilities",
        ),
    ),
    ("include_stop_str_in_output", Only(&["false"], NO_SETTING)),
    (
        "input_type",
        Only(&[], "the node embeds all texts in the same way"),
    ),
    ("json_schema", Only(&[], SHAPE)),
    ("length_penalty", Only(&["1"], NO_SETTING)),
    ("lora", Only(&["[]"], NO_SETTING)),
    ("max_tool_calls", Only(&[], NO_SETTING)),
    ("metadata", Always),
    ("min_tokens", Only(&["0"], NO_SETTING)),
    ("mirostat", Only(&["0"], NO_SETTING)),
    ("modalities", Only(&["[\"text\"]"], TEXT)),
    ("moderation", Only(&[], NO_SETTING)),
    ("n_predict", Only(&[], LIMIT)),
    ("num_predict", Only(&[], LIMIT)),
    ("prediction", Always),
    ("previous_response_id", Only(&[], STATELESS)),
    ("priority", Always),
    ("prompt_cache_key", Always),
    ("prompt_cache_options", Always),
    ("prompt_cache_retention", Always),
    ("prompt_logprobs", Only(&[], NO_SETTING)),
    ("raw", Only(&["false"], OLLAMA_ROUTE)),
    ("safety_identifier", Always),
    ("samplers", Only(&[], NO_SETTING)),
    ("service_tier", Always),
    ("skip_special_tokens", Only(&["true"], NO_SETTING)),
    ("spaces_between_special_tokens", Only(&["true"], NO_SETTING)),
    ("stop_token_ids", Only(&["[]"], NO_SETTING)),
    ("store", Only(&["false"], STATELESS)),
    ("structured_outputs", Only(&["{}"], SHAPE)),
    ("system", Only(&["\"\""], OLLAMA_ROUTE)),
    ("template", Only(&["\"\""], OLLAMA_ROUTE)),
    ("tfs_z", Only(&["1"], NO_SETTING)),
    (
        "think",
        Only(
            &["true"],
            "use 'reasoning_effort'; \"none\" keeps the model from thinking",
        ),
    ),
    ("top_a", Only(&["0"], NO_SETTING)),
    ("top_n_sigma", Only(&["-1"], NO_SETTING)),
    ("truncate", Only(&["true"], "Ollama's /api/embed takes it")),
    ("truncate_prompt_tokens", Only(&[], NO_SETTING)),
    (
        "truncation",
        Only(&["\"disabled\""], "the conversation is not shortened"),
    ),
    ("use_beam_search", Only(&["false"], NO_SETTING)),
    ("user", Always),
    (
        "verbosity",
        Only(
            &["\"medium\""],
            "ask for a short or a long answer in a message",
        ),
    ),
    (
        "web_search_options",
        Only(&[], "the model searches nothing by itself"),
    ),
    ("xtc_probability", Only(&["0"], NO_SETTING)),
];

const ANTHROPIC: &[(&str, Droppable)] = &[
    ("cache_control", Always),
    ("container", Only(&[], "nothing is run for the model")),
    // It shortens long conversations. Without it all of it counts, and one that is too long is the node's to answer.
    ("context_management", Always),
    ("frequency_penalty", Only(&["0"], OTHER_DIALECT)),
    ("keep_alive", Only(&[], OTHER_DIALECT)),
    ("mcp_servers", Only(&["[]"], "nothing is run for the model")),
    ("metadata", Always),
    ("min_p", Only(&["0"], OTHER_DIALECT)),
    ("num_ctx", Only(&[], OTHER_DIALECT)),
    ("options", Only(&["{}"], OTHER_DIALECT)),
    ("output_format", Only(&[], "use 'output_config.format'")),
    ("presence_penalty", Only(&["0"], OTHER_DIALECT)),
    ("repeat_penalty", Only(&["1"], OTHER_DIALECT)),
    ("seed", Only(&[], OTHER_DIALECT)),
    ("service_tier", Always),
    ("speed", Always),
];

/// Checks that every field which only the source operation knows may be lost.
///
/// # Errors
/// `Unsupported` for the first one that may not.
pub(crate) fn drop_extensions(source: Operation, extensions: &Fields) -> Result<(), ApiError> {
    for (name, value) in extensions.iter() {
        match rule(source.dialect(), name) {
            Some(rule) => rule.check(name, value.text())?,
            None => return Err(ApiError::unsupported(name, NO_FIELD)),
        }
    }
    Ok(())
}

/// Checks that a field may be lost, where its loss is known to matter. What is not in the table may.
///
/// # Errors
/// `Unsupported` when it may not.
pub(crate) fn check_known(source: Operation, name: &str, value: &str) -> Result<(), ApiError> {
    rule(source.dialect(), name).map_or(Ok(()), |rule| rule.check(name, value))
}

const fn table(dialect: Dialect) -> &'static [(&'static str, Droppable)] {
    match dialect {
        Dialect::Ollama => OLLAMA,
        Dialect::OpenAi => OPENAI,
        Dialect::Anthropic => ANTHROPIC,
    }
}

fn rule(dialect: Dialect, name: &str) -> Option<&'static Droppable> {
    let table = table(dialect);
    let at = table.binary_search_by(|(known, _)| (*known).cmp(name));
    at.ok().map(|at| &table[at].1)
}

impl Droppable {
    fn check(&self, name: &str, value: &str) -> Result<(), ApiError> {
        let why = match self {
            Only(values, why) if !values.iter().any(|wanted| says(value, wanted)) => why,
            Without(part, why) if value.contains(part) => why,
            _ => return Ok(()),
        };
        Err(ApiError::unsupported(name, why))
    }
}

/// Tells whether a JSON value is the same as another, which is written without spaces; `1.0` is the same as `1`.
pub(crate) fn says(value: &str, wanted: &str) -> bool {
    let same_number = || {
        let (value, wanted) = (value.parse::<f64>(), wanted.parse::<f64>());
        matches!((value, wanted), (Ok(a), Ok(b)) if (a - b).abs() < f64::EPSILON)
    };
    let letters = value.bytes().filter(|byte| !byte.is_ascii_whitespace());
    letters.eq(wanted.bytes()) || same_number()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    #[test]
    fn tables_are_sorted() {
        for dialect in [Dialect::Ollama, Dialect::OpenAi, Dialect::Anthropic] {
            assert!(table(dialect).is_sorted_by(|(a, _), (b, _)| a < b));
        }
    }

    #[test]
    fn hints_are_dropped_and_everything_else_is_refused_by_name() {
        use Operation::{AnthropicMessages, OllamaChat, OpenAiChat, OpenAiResponses};
        let dropped = [
            (OpenAiChat, "user", "\"u\""),
            (OpenAiChat, "store", "false"),
            (OpenAiChat, "modalities", "[ \"text\" ]"),
            (OpenAiChat, "length_penalty", "1.0"),
            (
                OpenAiResponses,
                "include",
                "[\"reasoning.encrypted_content\"]",
            ),
            (AnthropicMessages, "context_management", "{\"edits\":[]}"),
        ];
        let refused = [
            (OpenAiChat, "store", "true"),
            (OpenAiChat, "modalities", "[\"text\",\"audio\"]"),
            (OpenAiChat, "length_penalty", "1.5"),
            (OpenAiChat, "brand_new", "1"),
            (
                OpenAiResponses,
                "include",
                "[\"message.output_text.logprobs\"]",
            ),
            (AnthropicMessages, "container", "\"c\""),
            (OllamaChat, "user", "\"u\""),
        ];
        let check = |source, name: &str, value| {
            let mut fields = Fields::default();
            fields.push(name, Json::parse(value).unwrap());
            drop_extensions(source, &fields)
        };
        for (source, name, value) in dropped {
            assert_eq!(check(source, name, value), Ok(()), "{name}: {value}");
        }
        for (source, name, value) in refused {
            let error = check(source, name, value).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(name), "{name}: {value}");
            // Servers may learn fields that we don't know.
            let passing = check_known(source, name, value);
            assert_eq!(passing.is_ok(), matches!(name, "brand_new" | "user"));
        }
    }
}
