//! Per-request overrides of the script: `[[testbed key=value …]]` in the prompt, or the header `x-testbed: key=value …`.
//!
//! | key | meaning |
//! |---|---|
//! | `node=NAME` | the rest counts only on the upstream of that name |
//! | `tokens=N` | length of the answer (a marker in the prompt: on every node) |
//! | `first_byte_ms=N`, `first_token_ms=N`, `token_ms=N` | delays |
//! | `bytes=N`, `together=N` | chunking |
//! | `thinking=N` | thinking tokens |
//! | `tool_call` | calls the first tool that the request offers |
//! | `json` | answers with a JSON object, when the request constrains the answer to JSON |
//! | `hang`, `reset`, `close`, `status=N` | faults before the first byte |
//! | `reset_after=N`, `close_after=N`, `end_after=N`, `stall_after=N`, `malformed_after=N`, `error_after=N` | faults after N tokens |
//! | `fresh` | the faults count only for requests that do not continue an answer |

use std::time::Duration;

use super::script::{Chunking, Ending, Fault, Script};

/// The request header that carries directives.
pub const HEADER: &str = "x-testbed";

const MARKER: &str = "[[testbed ";

/// Returns the answer length that a marker in the prompt asks for.
pub(super) fn tokens_in(prompt: &str) -> Option<usize> {
    marker(prompt)?
        .split_whitespace()
        .find_map(|word| word.strip_prefix("tokens="))?
        .parse()
        .ok()
}

/// What one request wants beside the script.
#[derive(Debug, Default)]
pub(super) struct Directives {
    /// Whether the first offered tool is called.
    pub(super) tool_call: bool,
    /// Whether an answer that must be JSON is JSON.
    pub(super) json: bool,
}

/// Applies the directives of a request to the script it will be played by.
pub(super) fn apply(
    script: &mut Script,
    node: &str,
    header: Option<&str>,
    prompt: &str,
    continues: bool,
) -> Directives {
    let mut directives = Directives::default();
    for words in [marker(prompt), header].into_iter().flatten() {
        apply_words(script, &mut directives, node, words, continues);
    }
    directives
}

fn marker(prompt: &str) -> Option<&str> {
    let start = prompt.find(MARKER)? + MARKER.len();
    let length = prompt[start..].find("]]")?;
    Some(&prompt[start..start + length])
}

fn apply_words(
    script: &mut Script,
    directives: &mut Directives,
    node: &str,
    words: &str,
    continues: bool,
) {
    let pairs: Vec<(&str, &str)> = words
        .split_whitespace()
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .collect();
    if pairs
        .iter()
        .any(|(key, value)| *key == "node" && *value != node)
    {
        return;
    }
    let faults_count = !(continues && pairs.iter().any(|(key, _)| *key == "fresh"));
    for (key, value) in pairs {
        let number: Option<usize> = value.parse().ok();
        let millis = Duration::from_millis(number.unwrap_or(0) as u64);
        match key {
            "tokens" => script.tokens = number,
            "first_byte_ms" => script.first_byte_delay = millis,
            "first_token_ms" => script.first_token_delay = millis,
            "token_ms" => script.token_delay = millis,
            "bytes" => script.chunking = Chunking::Bytes(number.unwrap_or(1).max(1)),
            "together" => script.chunking = Chunking::Together(number.unwrap_or(1).max(1)),
            "thinking" => script.thinking = number.unwrap_or(0),
            "tool_call" => directives.tool_call = true,
            "json" => directives.json = true,
            _ if faults_count => {
                if let Some(fault) = fault(key, number.unwrap_or(0)) {
                    script.fault = Some(fault);
                }
            }
            _ => {}
        }
    }
}

fn fault(key: &str, number: usize) -> Option<Fault> {
    let ending = match key {
        "hang" => return Some(Fault::Hang),
        "reset" => return Some(Fault::ResetBeforeFirstByte),
        "close" => return Some(Fault::CloseBeforeFirstByte),
        "status" => return Some(Fault::status(u16::try_from(number).unwrap_or(500))),
        "reset_after" => Ending::Reset,
        "close_after" => Ending::Close,
        "end_after" => Ending::End,
        "stall_after" => Ending::Stall,
        "malformed_after" => Ending::Malformed,
        "error_after" => Ending::Error("scripted failure".to_owned()),
        _ => return None,
    };
    Some(Fault::after(number, ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_counts_only_on_the_named_node() {
        let prompt = "hi [[testbed node=a reset_after=3 tokens=9]]";
        let mut here = Script::default();
        apply(&mut here, "a", None, prompt, false);
        assert_eq!(here.fault, Some(Fault::after(3, Ending::Reset)));
        let mut there = Script::default();
        apply(&mut there, "b", None, prompt, false);
        assert_eq!(there.fault, None);
        assert_eq!(tokens_in(prompt), Some(9));
    }

    #[test]
    fn fresh_faults_spare_continuations() {
        let mut script = Script::default();
        apply(
            &mut script,
            "a",
            Some("fresh stall_after=1 token_ms=4"),
            "",
            true,
        );
        assert_eq!(
            (script.fault, script.token_delay),
            (None, Duration::from_millis(4))
        );
    }
}
