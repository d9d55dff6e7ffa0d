//! Writing chunks and whole responses of chat completions, completions and embeddings.
//!
//! Thinking goes out under both names that clients look for, `reasoning` (Ollama, vLLM) and `reasoning_content`
//! (llama-server, `DeepSeek`). The completions route has no place for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use primitives::Timestamp;
use serde::{Serialize, Serializer};

use crate::answer::{Answer, call_id};
use crate::canonical::Encoding;
use crate::encoder::{ResponseMeta, StreamState, whole_finish};
use crate::event::{AlternativeLogprob, Event, FinishReason, TokenLogprob, ToolCallDelta, Usage};
use crate::wire::{self, SSE_DONE};

const FINGERPRINT: &str = "fp_remuda";

#[derive(Serialize)]
struct Body<'a, C> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [C],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBody>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<ChatLogprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallPiece<'a>; 1]>,
}

#[derive(Serialize)]
struct CallPiece<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionPiece<'a>,
}

#[derive(Serialize)]
struct FunctionPiece<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct ChatChoice<'a> {
    index: u32,
    message: ChatMessage<'a>,
    logprobs: Option<ChatLogprobs<'a>>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct ChatMessage<'a> {
    role: &'static str,
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WholeCall<'a>>,
}

#[derive(Serialize)]
struct WholeCall<'a> {
    id: String,
    r#type: &'static str,
    function: FunctionPiece<'a>,
}

#[derive(Serialize)]
struct ChatLogprobs<'a> {
    content: Vec<TokenBody<'a>>,
}

#[derive(Serialize)]
struct TokenBody<'a> {
    token: &'a str,
    logprob: f64,
    bytes: Option<&'a [u8]>,
    top_logprobs: Vec<AlternativeBody<'a>>,
}

#[derive(Serialize)]
struct AlternativeBody<'a> {
    token: &'a str,
    logprob: f64,
    bytes: Option<&'a [u8]>,
}

#[derive(Serialize)]
struct CompletionChoice<'a> {
    text: &'a str,
    index: u32,
    logprobs: Option<CompletionLogprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct CompletionLogprobs<'a> {
    tokens: Vec<&'a str>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<Alternatives<'a>>,
    text_offset: Vec<usize>,
}

/// Alternatives as an object from token to log probability.
struct Alternatives<'a>(&'a [AlternativeLogprob]);

impl Serialize for Alternatives<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|top| (&top.token, top.logprob)))
    }
}

#[derive(Serialize)]
struct UsageBody {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl UsageBody {
    fn of(usage: &Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.total_tokens(),
            prompt_tokens_details: usage
                .cached_tokens
                .map(|cached_tokens| PromptDetails { cached_tokens }),
            completion_tokens_details: usage
                .reasoning_tokens
                .map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        }
    }
}

const fn finish_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Load | FinishReason::Unload => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

fn chat_logprobs(tokens: &[TokenLogprob]) -> Option<ChatLogprobs<'_>> {
    (!tokens.is_empty()).then(|| ChatLogprobs {
        content: tokens
            .iter()
            .map(|token| TokenBody {
                token: &token.token,
                logprob: token.logprob,
                bytes: token.bytes.as_deref(),
                top_logprobs: token
                    .top
                    .iter()
                    .map(|top| AlternativeBody {
                        token: &top.token,
                        logprob: top.logprob,
                        bytes: top.bytes.as_deref(),
                    })
                    .collect(),
            })
            .collect(),
    })
}

fn completion_logprobs(tokens: &[TokenLogprob]) -> Option<CompletionLogprobs<'_>> {
    let mut offset = 0;
    let offsets = tokens.iter().map(|token| {
        let start = offset;
        offset += token.token.chars().count();
        start
    });
    let text_offset = offsets.collect();
    (!tokens.is_empty()).then(|| CompletionLogprobs {
        tokens: tokens.iter().map(|token| token.token.as_str()).collect(),
        token_logprobs: tokens.iter().map(|token| token.logprob).collect(),
        top_logprobs: tokens
            .iter()
            .map(|token| Alternatives(&token.top))
            .collect(),
        text_offset,
    })
}

fn write_chunk<C: Serialize>(
    state: &StreamState,
    object: &'static str,
    choices: &[C],
    usage: Option<UsageBody>,
    out: &mut BytesMut,
) {
    let body = Body {
        id: &state.meta.id,
        object,
        created: state.created_secs,
        model: &state.meta.model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage,
    };
    wire::sse(out, &body);
}

const CHAT_CHUNK: &str = "chat.completion.chunk";

/// Writes the chunks of a chat stream: role, content, finish, usage, end mark.
#[derive(Debug, Default)]
pub(crate) struct ChatWriter {
    opened: bool,
    /// Calls whose first piece went out, and so their id.
    calls_begun: Vec<u32>,
}

impl ChatWriter {
    /// Goes on after chunks that another node has sent.
    pub(crate) const fn resume(&mut self) {
        self.opened = true;
    }

    pub(crate) fn event(&mut self, state: &mut StreamState, event: &Event, out: &mut BytesMut) {
        match event {
            Event::Text(text) => {
                let tokens = std::mem::take(&mut state.logprobs);
                let delta = Delta {
                    content: Some(text),
                    ..Delta::default()
                };
                self.delta(state, delta, &tokens, out);
            }
            Event::Thinking(text) => {
                let delta = Delta {
                    reasoning: Some(text),
                    reasoning_content: Some(text),
                    ..Delta::default()
                };
                self.delta(state, delta, &[], out);
            }
            Event::ToolCall(call) => self.call(state, call, out),
            _ => {}
        }
    }

    fn call(&mut self, state: &StreamState, call: &ToolCallDelta, out: &mut BytesMut) {
        let first = !self.calls_begun.contains(&call.index);
        if first {
            self.calls_begun.push(call.index);
        }
        let made_up =
            (first && call.id.is_none()).then(|| call_id(&state.meta.id, call.index as usize));
        let piece = CallPiece {
            index: call.index,
            id: call.id.as_deref().or(made_up.as_deref()),
            r#type: first.then_some("function"),
            function: FunctionPiece {
                name: call.name.as_deref(),
                arguments: &call.arguments,
            },
        };
        let delta = Delta {
            tool_calls: Some([piece]),
            ..Delta::default()
        };
        self.delta(state, delta, &[], out);
    }

    fn open(&mut self, state: &StreamState, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.opened, true) {
            let delta = Delta {
                role: Some("assistant"),
                content: Some(""),
                ..Delta::default()
            };
            write_delta(state, delta, &[], None, out);
        }
    }

    fn delta(
        &mut self,
        state: &StreamState,
        delta: Delta<'_>,
        tokens: &[TokenLogprob],
        out: &mut BytesMut,
    ) {
        self.open(state, out);
        write_delta(state, delta, tokens, None, out);
    }

    pub(crate) fn finish(&mut self, state: &StreamState, now: Timestamp, out: &mut BytesMut) {
        self.open(state, out);
        if !state.finish_sent {
            let reason = finish_name(state.finish_reason());
            write_delta(state, Delta::default(), &state.logprobs, Some(reason), out);
        }
        if state.meta.include_usage && !state.usage_sent {
            let usage = UsageBody::of(&state.final_usage(now));
            write_chunk::<ChunkChoice<'_>>(state, CHAT_CHUNK, &[], Some(usage), out);
        }
        out.extend_from_slice(SSE_DONE);
    }
}

fn write_delta(
    state: &StreamState,
    delta: Delta<'_>,
    tokens: &[TokenLogprob],
    finish_reason: Option<&'static str>,
    out: &mut BytesMut,
) {
    let choice = ChunkChoice {
        index: 0,
        delta,
        logprobs: chat_logprobs(tokens),
        finish_reason,
    };
    write_chunk(state, CHAT_CHUNK, &[choice], None, out);
}

const COMPLETION: &str = "text_completion";

/// Writes what an event adds to a stream of completions.
pub(crate) fn write_completion_event(state: &mut StreamState, event: &Event, out: &mut BytesMut) {
    let Event::Text(text) = event else { return };
    let tokens = std::mem::take(&mut state.logprobs);
    let choice = CompletionChoice {
        text,
        index: 0,
        logprobs: completion_logprobs(&tokens),
        finish_reason: None,
    };
    write_chunk(state, COMPLETION, &[choice], None, out);
}

/// Writes the end of a stream of completions.
pub(crate) fn write_completion_end(state: &StreamState, now: Timestamp, out: &mut BytesMut) {
    if !state.finish_sent {
        let choice = CompletionChoice {
            text: "",
            index: 0,
            logprobs: completion_logprobs(&state.logprobs),
            finish_reason: Some(finish_name(state.finish.unwrap_or(FinishReason::Stop))),
        };
        write_chunk(state, COMPLETION, &[choice], None, out);
    }
    if state.meta.include_usage && !state.usage_sent {
        let usage = UsageBody::of(&state.final_usage(now));
        write_chunk::<CompletionChoice<'_>>(state, COMPLETION, &[], Some(usage), out);
    }
    out.extend_from_slice(SSE_DONE);
}

fn write_body<C: Serialize>(
    meta: &ResponseMeta,
    object: &'static str,
    choices: &[C],
    usage: &Usage,
    out: &mut BytesMut,
) {
    let body = Body {
        id: &meta.id,
        object,
        created: meta.created.as_secs(),
        model: &meta.model,
        system_fingerprint: FINGERPRINT,
        choices,
        usage: Some(UsageBody::of(usage)),
    };
    wire::json(out, &body);
}

/// Writes a whole chat completion.
pub(crate) fn write_chat(meta: &ResponseMeta, answer: &Answer, out: &mut BytesMut) {
    let calls = answer
        .calls
        .iter()
        .enumerate()
        .map(|(position, call)| WholeCall {
            id: call
                .id
                .clone()
                .unwrap_or_else(|| call_id(&meta.id, position)),
            r#type: "function",
            function: FunctionPiece {
                name: Some(&call.name),
                arguments: &call.arguments,
            },
        });
    let thinking = Some(answer.thinking.as_str()).filter(|thinking| !thinking.is_empty());
    let only_calls = answer.text.is_empty() && !answer.calls.is_empty();
    let choice = ChatChoice {
        index: 0,
        message: ChatMessage {
            role: "assistant",
            content: (!only_calls).then_some(&answer.text),
            reasoning: thinking,
            reasoning_content: thinking,
            tool_calls: calls.collect(),
        },
        logprobs: chat_logprobs(&answer.logprobs),
        finish_reason: finish_name(whole_finish(answer)),
    };
    write_body(meta, "chat.completion", &[choice], &answer.usage, out);
}

/// Writes a whole completion.
pub(crate) fn write_completion(meta: &ResponseMeta, answer: &Answer, out: &mut BytesMut) {
    let choice = CompletionChoice {
        text: &answer.text,
        index: 0,
        logprobs: completion_logprobs(&answer.logprobs),
        finish_reason: Some(finish_name(answer.finish.unwrap_or(FinishReason::Stop))),
    };
    write_body(meta, COMPLETION, &[choice], &answer.usage, out);
}

#[derive(Serialize)]
struct EmbeddingsBody<'a> {
    object: &'static str,
    data: Vec<EmbeddingItem<'a>>,
    model: &'a str,
    usage: EmbeddingUsage,
}

#[derive(Serialize)]
struct EmbeddingItem<'a> {
    object: &'static str,
    embedding: Vector<'a>,
    index: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    Numbers(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct EmbeddingUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Writes the body of `/v1/embeddings`.
pub(crate) fn write_embeddings(meta: &ResponseMeta, answer: &Answer, out: &mut BytesMut) {
    let data = answer
        .embeddings
        .iter()
        .enumerate()
        .map(|(index, vector)| EmbeddingItem {
            object: "embedding",
            embedding: match meta.encoding {
                Encoding::Float => Vector::Numbers(vector),
                Encoding::Base64 => {
                    let bytes: Vec<u8> = vector
                        .iter()
                        .flat_map(|number| number.to_le_bytes())
                        .collect();
                    Vector::Base64(STANDARD.encode(bytes))
                }
            },
            index,
        });
    let body = EmbeddingsBody {
        object: "list",
        data: data.collect(),
        model: &meta.model,
        usage: EmbeddingUsage {
            prompt_tokens: answer.usage.prompt_tokens,
            total_tokens: answer.usage.prompt_tokens,
        },
    };
    wire::json(out, &body);
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use primitives::Timestamp;

    use crate::{
        Encoding, Event, FinishReason, Observer, Operation, ResponseEncoder, ResponseMeta,
        ToolCallDelta, Usage, encode_whole,
    };

    const NOW: Timestamp = Timestamp::from_micros(5_000_000);

    fn meta() -> ResponseMeta {
        ResponseMeta {
            include_usage: true,
            ..ResponseMeta::plain("m", "chatcmpl-1", NOW)
        }
    }

    fn run(mut encoder: ResponseEncoder, events: &[Event]) -> String {
        let mut out = BytesMut::new();
        for event in events {
            encoder.event(event, NOW, &mut out);
        }
        encoder.finish(NOW, &mut out);
        encoder.finish(NOW, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn usage(prompt_tokens: u64, completion_tokens: u64) -> Event {
        Event::Usage(Usage {
            prompt_tokens,
            completion_tokens,
            ..Usage::default()
        })
    }

    const HEAD: &str = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"m","system_fingerprint":"fp_remuda","choices":"#;

    #[test]
    fn a_chat_stream_has_the_exact_chunks() {
        let events = [
            Event::Text("a".into()),
            Event::Finish(FinishReason::Stop),
            usage(2, 1),
        ];
        let text = run(ResponseEncoder::new(Operation::OpenAiChat, meta()), &events);
        let expected = [
            r#"[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
            r#"[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
            r#"[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"[],"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}}"#,
        ];
        let expected = expected.map(|choices| format!("{HEAD}{choices}\n\n"));
        assert_eq!(text, expected.concat() + "data: [DONE]\n\n");
    }

    #[test]
    fn usage_is_kept_back_unless_asked_for() {
        let meta = ResponseMeta::plain("m", "chatcmpl-1", NOW);
        let text = run(
            ResponseEncoder::new(Operation::OpenAiChat, meta),
            &[usage(1, 1)],
        );
        assert!(!text.contains("usage"));
    }

    #[test]
    fn tool_calls_carry_id_and_name_first() {
        let call = |id: Option<&str>, name: Option<&str>, arguments: &str| {
            Event::ToolCall(ToolCallDelta {
                index: 0,
                id: id.map(str::to_owned),
                name: name.map(str::to_owned),
                arguments: arguments.into(),
            })
        };
        let events = [
            call(Some("c"), Some("f"), ""),
            call(None, None, "{}"),
            Event::Finish(FinishReason::Stop),
        ];
        let text = run(ResponseEncoder::new(Operation::OpenAiChat, meta()), &events);
        assert!(text.contains(
            r#""delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}"#
        ));
        assert!(
            text.contains(r#""delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#)
        );
        assert!(text.contains(r#""finish_reason":"tool_calls""#));
    }

    #[test]
    fn a_resumed_stream_goes_on_without_opening_again() {
        let mut observer = Observer::new(Operation::OpenAiChat);
        for content in ["x", "y"] {
            let frame = format!(
                "data: {{\"id\":\"other\",\"created\":3,\"model\":\"n\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n"
            );
            observer.frame(frame.as_bytes());
        }
        let encoder = ResponseEncoder::resume(Operation::OpenAiChat, meta(), observer.state());
        let text = run(encoder, &[Event::Text("z".into()), usage(9, 1)]);
        assert!(text.starts_with(
            r#"data: {"id":"other","object":"chat.completion.chunk","created":3,"model":"n""#
        ));
        assert!(!text.contains("role"));
        assert!(
            text.contains(r#""usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}"#)
        );
    }

    #[test]
    fn a_lost_end_mark_is_all_that_is_added() {
        let mut observer = Observer::new(Operation::OpenAiChat);
        for choices in [
            r#"[{"index":0,"delta":{"content":"x"}}]"#,
            r#"[{"index":0,"delta":{},"finish_reason":"stop"}]"#,
        ] {
            let frame = format!("data: {{\"id\":\"other\",\"choices\":{choices}}}\n\n");
            observer.frame(frame.as_bytes());
        }
        let plain = ResponseMeta::plain("m", "chatcmpl-1", NOW);
        let encoder = ResponseEncoder::resume(Operation::OpenAiChat, plain, observer.state());
        assert_eq!(run(encoder, &[]), "data: [DONE]\n\n");
    }

    #[test]
    fn an_error_ends_the_stream_without_an_end_mark() {
        let error = Event::Error(crate::ApiError::truncated());
        let text = run(
            ResponseEncoder::new(Operation::OpenAiChat, meta()),
            &[Event::Text("a".into()), error],
        );
        assert!(text.contains("data: {\"error\":{") && !text.contains("[DONE]"));
    }

    #[test]
    fn whole_bodies_are_exact() {
        let events = [
            Event::Thinking("hm".into()),
            Event::Text("a".into()),
            usage(1, 2),
        ];
        let body = encode_whole(Operation::OpenAiChat, &meta(), &events, NOW).unwrap();
        assert_eq!(
            body,
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":5,"model":"m","system_fingerprint":"fp_remuda","choices":[{"index":0,"message":{"role":"assistant","content":"a","reasoning":"hm","reasoning_content":"hm"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#
        );
        let body = encode_whole(
            Operation::OpenAiCompletions,
            &meta(),
            &[Event::Text("a".into())],
            NOW,
        )
        .unwrap();
        assert!(
            body.windows(20)
                .any(|window| window == br#""text":"a","index":0"#)
        );
    }

    #[test]
    fn vectors_are_written_as_asked() {
        let events = [Event::Embeddings(vec![vec![1.0, 2.0]]), usage(3, 0)];
        let base64 = ResponseMeta {
            encoding: Encoding::Base64,
            ..meta()
        };
        let body = encode_whole(Operation::OpenAiEmbeddings, &base64, &events, NOW).unwrap();
        assert_eq!(
            body,
            r#"{"object":"list","data":[{"object":"embedding","embedding":"AACAPwAAAEA=","index":0}],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}"#
        );
        let body = encode_whole(Operation::OpenAiEmbeddings, &meta(), &events, NOW).unwrap();
        assert!(body.starts_with(
            br#"{"object":"list","data":[{"object":"embedding","embedding":[1.0,2.0],"index":0}]"#
        ));
    }
}
