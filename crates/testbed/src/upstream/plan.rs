//! What will be said: the tokens of one response, decided before the first byte.

use super::Answer;
use super::answer::count_tokens;
use super::ask::Ask;
use super::directives::Directives;
use super::script::{Script, ToolCall};

/// What is said when JSON is demanded.
const JSON_ANSWER: &str = r#"{"city": "Uppsala", "degrees": 7}"#;

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    ToolCalls,
}

/// One response.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) thinking: Vec<String>,
    pub(super) tokens: Vec<String>,
    pub(super) tool_calls: Vec<ToolCall>,
    pub(super) finish: Finish,
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
}

impl Plan {
    pub(super) fn new(ask: &Ask, script: &Script, directives: &Directives) -> Self {
        let prompt_tokens = count_tokens(&ask.prompt) + count_tokens(&ask.prefill);
        let tool_calls = tool_calls(ask, script, directives);
        if !tool_calls.is_empty() {
            let completion_tokens = tool_calls
                .iter()
                .map(|call| 4 + count_tokens(&call.arguments))
                .sum();
            return Self {
                thinking: Vec::new(),
                tokens: Vec::new(),
                tool_calls,
                finish: Finish::ToolCalls,
                prompt_tokens,
                completion_tokens,
            };
        }
        if directives.json && ask.constrained {
            let tokens: Vec<String> = JSON_ANSWER
                .split_inclusive(' ')
                .map(str::to_owned)
                .collect();
            return Self {
                thinking: Vec::new(),
                completion_tokens: tokens.len(),
                tokens,
                tool_calls,
                finish: Finish::Stop,
                prompt_tokens,
            };
        }
        let answer = Answer::to(&ask.prompt, script.tokens);
        // A beginning that is not ours is an ordinary part of what was said before.
        let rest = answer
            .after(&ask.prefill)
            .unwrap_or_else(|| answer.tokens().to_vec());
        let (mut tokens, mut finish) = (cut_at_stop(rest, &ask.stop), Finish::Stop);
        if let Some(limit) = ask.max_tokens.filter(|limit| *limit < tokens.len()) {
            tokens.truncate(limit);
            finish = Finish::Length;
        }
        let thinking: Vec<String> = if ask.thinks && ask.prefill.is_empty() {
            (0..script.thinking).map(|at| format!("hm{at} ")).collect()
        } else {
            Vec::new()
        };
        let completion_tokens = thinking.len() + tokens.len();
        if ask.repeats_prefill && !ask.prefill.is_empty() {
            tokens.insert(0, ask.prefill.clone());
        }
        Self {
            thinking,
            tokens,
            tool_calls,
            finish,
            prompt_tokens,
            completion_tokens,
        }
    }

    pub(super) fn text(&self) -> String {
        self.tokens.concat()
    }
}

fn tool_calls(ask: &Ask, script: &Script, directives: &Directives) -> Vec<ToolCall> {
    match ask.tools.first() {
        Some(_) if !script.tool_calls.is_empty() => script.tool_calls.clone(),
        Some(name) if directives.tool_call => {
            vec![ToolCall {
                name: name.clone(),
                arguments: r#"{"city":"Uppsala","unit":"celsius"}"#.to_owned(),
            }]
        }
        _ => Vec::new(),
    }
}

/// Cuts before the first stop sequence, which may span tokens.
fn cut_at_stop(tokens: Vec<String>, stops: &[String]) -> Vec<String> {
    let text = tokens.concat();
    let Some(end) = stops
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| text.find(stop.as_str()))
        .min()
    else {
        return tokens;
    };
    let mut kept = Vec::new();
    let mut length = 0;
    for mut token in tokens {
        if length >= end {
            break;
        }
        token.truncate(end - length);
        length += token.len();
        kept.push(token);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_sequence_cuts_inside_a_token() {
        let tokens = vec!["one".to_owned(), " two".to_owned(), " three".to_owned()];
        assert_eq!(cut_at_stop(tokens, &["wo th".to_owned()]), ["one", " t"]);
    }
}
