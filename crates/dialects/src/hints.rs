//! The one table of fields that may be lost in translation, and why nobody is misled by that.
//!
//! A field that only its own dialect knows is passed on word for word when the request stays in its operation. When it is
//! translated, a field in this table is dropped; any other is refused by name. What may be dropped never changes what the
//! answer says: accounting labels, cache and scheduling hints, and values that ask for what happens anyway.
//!
//! Dropped without standing here, because the canonical request has a place for them: `keep_alive` and Ollama's load-time
//! options (`num_ctx`, `num_gpu`, …, and options that Ollama itself only warns about) on nodes that are not Ollama. They
//! steer routing here instead.

use crate::error::ApiError;
use crate::json::{Fields, Json};
use crate::operation::{Dialect, Operation};

/// When a field may be dropped.
enum Droppable {
    /// Whatever its value.
    Always,
    /// When it has one of these values (JSON text); any other is refused.
    Only(&'static [&'static str]),
}

const OLLAMA: &[(&str, Droppable)] = &[
    // OpenAI-like servers answer an over-long prompt with an error instead of cutting it: nothing silent.
    ("truncate", Droppable::Always),
    ("shift", Droppable::Always),
    ("_debug_render_only", Droppable::Only(&["false"])),
];

const OPENAI: &[(&str, Droppable)] = &[
    ("user", Droppable::Always),
    ("metadata", Droppable::Always),
    ("safety_identifier", Droppable::Always),
    ("service_tier", Droppable::Always),
    ("prompt_cache_key", Droppable::Always),
    ("prompt_cache_options", Droppable::Always),
    ("prompt_cache_retention", Droppable::Always),
    ("prediction", Droppable::Always),
    ("priority", Droppable::Always),
    ("cache_prompt", Droppable::Always),
    ("client_metadata", Droppable::Always),
    ("store", Droppable::Only(&["false"])),
    ("modalities", Droppable::Only(&["[\"text\"]"])),
    ("verbosity", Droppable::Only(&["\"medium\""])),
    ("functions", Droppable::Only(&["[]"])),
    // The Responses API only.
    ("include", Droppable::Always),
    ("background", Droppable::Only(&["false"])),
    ("truncation", Droppable::Only(&["\"disabled\""])),
];

const ANTHROPIC: &[(&str, Droppable)] = &[
    ("metadata", Droppable::Always),
    ("service_tier", Droppable::Always),
    ("cache_control", Droppable::Always),
];

/// Checks that every field which only the source operation knows may be lost.
///
/// # Errors
/// `Unsupported` for the first one that may not.
pub(crate) fn drop_extensions(source: Operation, extensions: &Fields) -> Result<(), ApiError> {
    let table = match source.dialect() {
        Dialect::Ollama => OLLAMA,
        Dialect::OpenAi => OPENAI,
        Dialect::Anthropic => ANTHROPIC,
    };
    match extensions
        .iter()
        .find(|(name, value)| !may_drop(table, name, value))
    {
        None => Ok(()),
        Some((name, _)) => Err(ApiError::unsupported(
            name,
            "the node that has this model speaks another API, which has no such field",
        )),
    }
}

fn may_drop(table: &[(&str, Droppable)], name: &str, value: &Json) -> bool {
    table.iter().any(|(known, rule)| {
        *known == name
            && match rule {
                Droppable::Always => true,
                Droppable::Only(values) => values.contains(&value.text()),
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_dropped_and_everything_else_is_refused_by_name() {
        let fields = |name: &str, value: &str| {
            let mut fields = Fields::default();
            fields.push(name, Json::parse(value).unwrap());
            fields
        };
        assert!(drop_extensions(Operation::OpenAiChat, &fields("user", "\"u\"")).is_ok());
        assert!(drop_extensions(Operation::OpenAiChat, &fields("store", "false")).is_ok());
        let refused = drop_extensions(Operation::OpenAiChat, &fields("store", "true")).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("store"));
        assert!(drop_extensions(Operation::OllamaChat, &fields("user", "\"u\"")).is_err());
    }
}
