//! What a whole answer says about itself, read by walking over it: a long text costs no more than passing over it.

use crate::observer::Observed;
use crate::operation::Operation;
use crate::scan::Scanner;
use crate::{ollama, openai};

/// Reads usage, how it ended and the header of a chat or completion. `None` when it is an error, is not as expected, or is of
/// another operation: then the full reader decides.
pub(crate) fn scan(operation: Operation, body: &[u8]) -> Option<Observed> {
    let mut scanner = Scanner::new(body)?;
    let observed = match operation {
        Operation::OpenAiChat | Operation::OpenAiCompletions => openai::scan_whole(&mut scanner),
        Operation::OllamaChat | Operation::OllamaGenerate => ollama::scan_whole(&mut scanner),
        Operation::OllamaEmbed
        | Operation::OllamaEmbeddings
        | Operation::OpenAiEmbeddings
        | Operation::OpenAiResponses
        | Operation::AnthropicMessages => None,
    }?;
    scanner.end()?;
    Some(observed)
}

#[cfg(test)]
mod tests {
    use primitives::Timestamp;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::{Event, FinishReason, Observer, ResponseMeta, Usage, encode_whole};

    const OPENAI: &str = r#"{"id":"c","created":9,"model":"m","choices":[{"index":1,"finish_reason":"length"},{"index":0,
        "message":{"content":"a \"usage\":{ b","tool_calls":[]},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":4,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}},"timings":{"prompt_ms":2}}"#;
    const OLLAMA: &str = r#"{"model":"m","message":{"role":"assistant","content":"a"},"done":true,"done_reason":"length",
        "total_duration":5,"prompt_eval_count":3,"eval_count":2,"eval_duration":1}"#;

    #[test]
    fn a_walk_finds_what_the_full_reader_finds() {
        for (operation, body) in [
            (Operation::OpenAiChat, OPENAI),
            (Operation::OllamaChat, OLLAMA),
        ] {
            let walked = scan(operation, body.as_bytes()).unwrap();
            let read = Observer::whole_in_full(operation, body.as_bytes());
            assert!(read.complete && read.error.is_none());
            assert_eq!(
                (
                    walked.usage,
                    walked.finish,
                    &walked.id,
                    &walked.model,
                    walked.created,
                    walked.complete
                ),
                (
                    read.usage,
                    read.finish,
                    &read.id,
                    &read.model,
                    read.created,
                    read.complete
                )
            );
        }
    }

    #[test]
    fn reasons_and_counts_are_those_of_the_first_choice() {
        let seen = scan(Operation::OpenAiChat, OPENAI.as_bytes()).unwrap();
        assert_eq!(seen.finish, Some(FinishReason::Stop));
        assert_eq!(seen.usage.unwrap().cached_tokens, Some(1));
    }

    #[test]
    fn errors_and_other_shapes_are_left_to_the_full_reader() {
        for (operation, body) in [
            (Operation::OpenAiChat, r#"{"error":{"message":"no"}}"#),
            (Operation::OpenAiChat, r#"{"choices":7}"#),
            (Operation::OpenAiChat, r#"{"choices":[{"index":0}]"#),
            (Operation::OpenAiChat, "[]"),
            (Operation::OllamaChat, r#"{"error":"no"}"#),
            (
                Operation::OllamaChat,
                r#"{"message":{"content":"half"},"done":false}"#,
            ),
            (Operation::AnthropicMessages, "{}"),
        ] {
            assert_eq!(scan(operation, body.as_bytes()), None, "{body}");
        }
    }

    fn account(seen: &Observed) -> (Option<Usage>, Option<FinishReason>, &Option<String>, bool) {
        (seen.usage, seen.finish, &seen.model, seen.complete)
    }

    proptest! {
        #[test]
        fn a_walk_over_any_answer_finds_what_the_full_reader_finds(
            texts in proptest::collection::vec(any::<String>(), 0..4), thinking in any::<String>(),
            tokens in 0..2_000_000_u64, cached in proptest::option::of(0..9_u64), long in any::<bool>(),
        ) {
            let now = Timestamp::from_micros(1_767_323_045_000_000);
            let meta = ResponseMeta::plain("m\"\u{e4}", "id", now);
            let mut events = vec![Event::Thinking(thinking)];
            events.extend(texts.into_iter().map(Event::Text));
            events.push(Event::Finish(if long { FinishReason::Length } else { FinishReason::Stop }));
            events.push(Event::Usage(Usage { prompt_tokens: tokens, completion_tokens: 7, cached_tokens: cached, ..Usage::default() }));
            for operation in [Operation::OpenAiChat, Operation::OpenAiCompletions, Operation::OllamaChat, Operation::OllamaGenerate] {
                let body = encode_whole(operation, &meta, &events, now).unwrap();
                let walked = scan(operation, &body).unwrap();
                let read = Observer::whole_in_full(operation, &body);
                prop_assert_eq!(account(&walked), account(&read));
            }
        }
    }
}
