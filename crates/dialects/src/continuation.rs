//! Going on with an answer on another node after the first one was lost.

use crate::canonical::{Message, Part, Request, Role, Think, ToolChoice};
use crate::event::{Event, FinishReason};
use crate::observer::Observed;

/// How an interrupted answer can go on.
#[derive(Clone, Debug, PartialEq)]
pub enum Continuation {
    /// Send this request to a node that can continue answers; its answer begins exactly where the text broke off. The
    /// source stays the client's operation, so encode it for [`Request::operation_on`] the new node.
    Request(Request),
    /// The answer was complete but for its end mark: end it with this reason.
    Finished(FinishReason),
    /// The answer cannot go on; the text says why.
    Impossible(&'static str),
}

/// Decides how an answer goes on of which `observed` has reached the client.
///
/// Only plain text can go on: a half-made function call or half a JSON document would have to be continued token by token,
/// which no server's dialect offers. When nothing was generated yet, the request is simply sent again.
pub fn continuation(request: &Request, observed: &Observed) -> Continuation {
    if let Some(reason) = observed.finish {
        return Continuation::Finished(reason);
    }
    let Some(generation) = request.generation() else {
        return Continuation::Impossible("embeddings are not text");
    };
    if observed.tool_calls_seen {
        return Continuation::Impossible("a function call had begun");
    }
    if observed.content_frames == 0 {
        return Continuation::Request(request.clone());
    }
    if observed.overflowed {
        return Continuation::Impossible("the answer is longer than what is kept for continuation");
    }
    if observed.text.is_empty() {
        return Continuation::Impossible("the model was still thinking");
    }
    if generation.format.is_some() {
        return Continuation::Impossible("the answer has a prescribed format");
    }
    if generation.sampling.n.is_some_and(|n| n > 1) {
        return Continuation::Impossible("there are several answers");
    }
    match request {
        Request::Chat(chat)
            if !chat.tools.is_empty() && chat.tool_choice != Some(ToolChoice::None) =>
        {
            return Continuation::Impossible("tools were offered to the model");
        }
        Request::Completion(completion) if completion.suffix.is_some() || completion.echo => {
            return Continuation::Impossible("the completion is not plain text after the prompt");
        }
        Request::Completion(completion)
            if completion.template.is_some() || completion.context.is_some() =>
        {
            return Continuation::Impossible(
                "the request carries a template or context of its own",
            );
        }
        _ => {}
    }
    let mut next = request.clone();
    if let Some(generation) = next.generation_mut() {
        if observed.thinking_seen {
            // The thinking is done; another node must not begin anew.
            generation.think = Some(Think::Off);
        }
        if let Some(limit) = generation.sampling.max_tokens.filter(|limit| *limit > 0) {
            let emitted = i64::try_from(observed.emitted_tokens()).unwrap_or(i64::MAX);
            if emitted >= limit {
                return Continuation::Finished(FinishReason::Length);
            }
            generation.sampling.max_tokens = Some(limit - emitted);
        }
    }
    append(&mut next, &observed.text);
    Continuation::Request(next)
}

fn append(request: &mut Request, emitted: &str) {
    match request {
        Request::Chat(chat) => {
            let begun = chat.messages.last_mut().filter(|_| chat.continue_last);
            match begun {
                // The client had begun the answer itself: what was emitted follows without a gap.
                Some(message) => match message.parts.last_mut() {
                    Some(Part::Text(text)) => text.push_str(emitted),
                    _ => message.parts.push(Part::Text(emitted.to_owned())),
                },
                None => chat.messages.push(Message::text(Role::Assistant, emitted)),
            }
            chat.continue_last = true;
        }
        Request::Completion(completion) => {
            completion
                .continued
                .get_or_insert_default()
                .push_str(emitted);
        }
        Request::Embed(_) => {}
    }
}

/// Takes the beginning that a request gave for its answer out of the answer of a server that repeats it
/// ([`ServerKind::repeats_beginnings`](crate::ServerKind::repeats_beginnings)): Ollama's clients expect only what is new.
pub fn drop_repeated_beginning(request: &Request, answer: &mut [Event]) {
    let Request::Chat(chat) = request else {
        return;
    };
    let begun = chat.messages.last().filter(|_| chat.continue_last);
    let Some(begun) = begun else {
        return;
    };
    let begun = begun.joined_text();
    let text = answer.iter_mut().find_map(|event| match event {
        Event::Text(text) => Some(text),
        _ => None,
    });
    if let Some(text) = text
        && text.starts_with(&begun)
    {
        text.drain(..begun.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, Operation, ServerKind, Target, decode_request, encode_request};

    fn emitted(text: &str, frames: u64) -> Observed {
        Observed {
            text: text.to_owned(),
            content_frames: frames,
            ..Observed::default()
        }
    }

    fn next(operation: Operation, body: &str, observed: &Observed) -> Request {
        let request = decode_request(operation, body.as_bytes()).unwrap();
        match continuation(&request, observed) {
            Continuation::Request(next) => next,
            other => panic!("{other:?}"),
        }
    }

    fn encoded(request: &Request, server: ServerKind, node: Dialect) -> (Operation, String) {
        let operation = request.operation_on(server, node);
        let body = encode_request(&Target { operation, server }, request).unwrap();
        (operation, String::from_utf8(body.to_vec()).unwrap())
    }

    const CHAT: &str =
        r#"{"model":"m","messages":[{"role":"user","content":"q"}],"max_tokens":10}"#;

    #[test]
    fn a_chat_goes_on_from_the_emitted_text_on_each_server() {
        let next = next(Operation::OpenAiChat, CHAT, &emitted("tok0 tok1", 2));
        let (operation, body) = encoded(&next, ServerKind::Vllm, Dialect::OpenAi);
        assert_eq!(operation, Operation::OpenAiChat);
        assert!(
            body.contains(r#"{"role":"assistant","content":"tok0 tok1"}]"#),
            "{body}"
        );
        assert!(body.contains(r#""max_tokens":8"#));
        assert!(body.contains(r#""continue_final_message":true,"add_generation_prompt":false"#));
        let (_, body) = encoded(&next, ServerKind::LlamaServer, Dialect::OpenAi);
        assert!(body.contains(r#""continue_final_message":true,"add_generation_prompt":false"#));
        let refused = Target {
            operation: Operation::OpenAiChat,
            server: ServerKind::LlamaCppPython,
        };
        assert!(encode_request(&refused, &next).is_err());
    }

    #[test]
    fn a_generate_goes_on_as_a_chat_and_a_raw_one_as_prompt() {
        let body = r#"{"model":"m","prompt":"q","system":"s"}"#;
        let templated = next(Operation::OllamaGenerate, body, &emitted("a b", 2));
        let (operation, body) = encoded(&templated, ServerKind::Ollama, Dialect::Ollama);
        assert_eq!(operation, Operation::OllamaChat);
        assert!(body.contains(
            r#""messages":[{"role":"system","content":"s"},{"role":"user","content":"q"},{"role":"assistant","content":"a b"}]"#
        ));
        let raw = next(
            Operation::OllamaGenerate,
            r#"{"model":"m","prompt":"q","raw":true}"#,
            &emitted("a", 1),
        );
        let (operation, body) = encoded(&raw, ServerKind::Ollama, Dialect::Ollama);
        assert_eq!(operation, Operation::OllamaGenerate);
        assert!(body.contains(r#""prompt":"qa""#));
        let completion = next(
            Operation::OpenAiCompletions,
            r#"{"model":"m","prompt":"q"}"#,
            &emitted("a", 1),
        );
        let (operation, body) = encoded(&completion, ServerKind::Vllm, Dialect::OpenAi);
        assert_eq!(operation, Operation::OpenAiCompletions);
        assert!(body.contains(r#""prompt":"qa""#));
        let (operation, _) = encoded(&completion, ServerKind::Ollama, Dialect::Ollama);
        assert_eq!(operation, Operation::OllamaChat);
    }

    #[test]
    fn a_responses_stream_goes_on_by_chat() {
        let body = r#"{"model":"m","input":"q","stream":true}"#;
        let next = next(Operation::OpenAiResponses, body, &emitted("a", 1));
        assert_eq!(
            encoded(&next, ServerKind::Vllm, Dialect::OpenAi).0,
            Operation::OpenAiChat
        );
    }

    #[test]
    fn an_anthropic_stream_goes_on_by_chat_where_messages_are_not_continued() {
        let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}]}"#;
        let next = next(Operation::AnthropicMessages, body, &emitted("a", 1));
        for server in [ServerKind::Vllm, ServerKind::LlamaServer] {
            let (operation, body) = encoded(&next, server, Dialect::OpenAi);
            assert_eq!(operation, Operation::OpenAiChat);
            assert!(body.contains(r#""continue_final_message":true"#), "{body}");
        }
        let (operation, _) = encoded(&next, ServerKind::Other, Dialect::Anthropic);
        assert_eq!(operation, Operation::AnthropicMessages);
    }

    #[test]
    fn a_repeated_beginning_is_taken_out_once() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"ab"}]}"#;
        let request = decode_request(Operation::OllamaChat, body.as_bytes()).unwrap();
        let dropped = |text: &str| {
            let mut events = [Event::Text(text.to_owned())];
            drop_repeated_beginning(&request, &mut events);
            let [Event::Text(text)] = events else {
                panic!("{events:?}")
            };
            text
        };
        assert_eq!(dropped("ababc"), "abc");
        assert_eq!(dropped("xyz"), "xyz");
    }

    #[test]
    fn what_the_client_had_begun_is_kept() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"Once"}]}"#;
        let Request::Chat(chat) = next(Operation::OllamaChat, body, &emitted(" upon", 1)) else {
            panic!()
        };
        assert_eq!(chat.messages.len(), 2);
        assert_eq!(chat.messages[1].joined_text(), "Once upon");
    }

    #[test]
    fn nothing_emitted_means_the_same_request_again() {
        let request = decode_request(Operation::OpenAiChat, CHAT.as_bytes()).unwrap();
        let again = continuation(&request, &Observed::default());
        assert_eq!(again, Continuation::Request(request));
    }

    #[test]
    fn what_cannot_go_on_says_why() {
        let with = |extra: &str| CHAT.replace("\"max_tokens\":10", extra);
        let tools = with(r#""tools":[{"type":"function","function":{"name":"f"}}]"#);
        let json = with(r#""response_format":{"type":"json_object"}"#);
        let calls = Observed {
            tool_calls_seen: true,
            ..emitted("a", 1)
        };
        let long = Observed {
            overflowed: true,
            ..emitted("a", 1)
        };
        let thinking = Observed {
            thinking_seen: true,
            ..emitted("", 3)
        };
        let cases = [
            (tools.as_str(), emitted("a", 1)),
            (json.as_str(), emitted("a", 1)),
            (CHAT, calls),
            (CHAT, long),
            (CHAT, thinking),
        ];
        for (body, observed) in cases {
            let request = decode_request(Operation::OpenAiChat, body.as_bytes()).unwrap();
            assert!(
                matches!(
                    continuation(&request, &observed),
                    Continuation::Impossible(_)
                ),
                "{body}"
            );
        }
    }

    #[test]
    fn a_lost_end_mark_is_not_a_lost_answer() {
        let request = decode_request(Operation::OpenAiChat, CHAT.as_bytes()).unwrap();
        let finished = Observed {
            finish: Some(FinishReason::Stop),
            ..emitted("a", 1)
        };
        assert_eq!(
            continuation(&request, &finished),
            Continuation::Finished(FinishReason::Stop)
        );
        assert_eq!(
            continuation(&request, &emitted("a", 10)),
            Continuation::Finished(FinishReason::Length)
        );
    }
}
