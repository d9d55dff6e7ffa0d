//! What goes out, byte for byte.

use bytes::BytesMut;
use primitives::Timestamp;

use crate::{
    Encoding, Event, FinishReason, Observer, Operation, ResponseEncoder, ResponseMeta,
    ToolCallDelta, Usage, Vector, encode_whole,
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
    assert!(text.contains(r#""delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#));
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
    let events = [
        Event::Embeddings(vec![Vector::from([1.0, 2.0].as_slice())]),
        usage(3, 0),
    ];
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
