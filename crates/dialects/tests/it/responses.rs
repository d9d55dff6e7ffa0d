//! An answer that goes from a node's dialect into a client's says the same, however the network cuts it.

use bytes::{Bytes, BytesMut};
use primitives::Timestamp;
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use remuda_dialects::{
    Event, FinishReason, FrameSplitter, Observer, Operation, ResponseDecoder, ResponseEncoder,
    ResponseMeta, ToolCallDelta, Usage, decode_whole, encode_whole,
};

const NOW: Timestamp = Timestamp::from_micros(1_767_323_045_000_006);

const CHATS: [Operation; 4] = [
    Operation::OllamaChat,
    Operation::OpenAiChat,
    Operation::OpenAiResponses,
    Operation::AnthropicMessages,
];

/// What a person would see of an answer.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    text: String,
    thinking: String,
    calls: Vec<(String, String)>,
    tokens: (u64, u64),
}

fn seen(events: &[Event]) -> Seen {
    let mut seen = Seen::default();
    for event in events {
        match event {
            Event::Text(text) => seen.text.push_str(text),
            Event::Thinking(text) => seen.thinking.push_str(text),
            Event::ToolCall(call) => {
                if let Some(name) = &call.name {
                    seen.calls.push((name.clone(), String::new()));
                }
                seen.calls.last_mut().unwrap().1.push_str(&call.arguments);
            }
            Event::Usage(usage) => seen.tokens = (usage.prompt_tokens, usage.completion_tokens),
            Event::Error(error) => panic!("{error}"),
            Event::Finish(_) | Event::Logprobs(_) | Event::Embeddings(_) => {}
        }
    }
    seen
}

fn written(operation: Operation, events: &[Event]) -> Bytes {
    let mut meta = ResponseMeta::plain("m", "resp_1", NOW);
    meta.include_usage = true;
    let mut encoder = ResponseEncoder::new(operation, meta);
    let mut out = BytesMut::new();
    for event in events {
        encoder.event(event, NOW, &mut out);
    }
    encoder.finish(NOW, &mut out);
    out.freeze()
}

fn read(operation: Operation, mut body: Bytes, piece: usize) -> Vec<Event> {
    let mut splitter = FrameSplitter::new(operation.framing());
    let mut decoder = ResponseDecoder::new(operation);
    let mut events = Vec::new();
    while !body.is_empty() {
        splitter.push(body.split_to(piece.min(body.len())));
        while let Some(frame) = splitter.next_frame().unwrap() {
            decoder.push(&frame, &mut events);
        }
    }
    assert_eq!(splitter.take_rest(), None);
    decoder.finish().unwrap();
    events
}

fn answer() -> impl Strategy<Value = Vec<Event>> {
    let text = "[ -~\u{e4}\u{1f600}\n\"\\\\]{1,12}";
    let texts = proptest::collection::vec(text, 0..6);
    (texts.clone(), texts, any::<bool>(), 0..9_999_u64).prop_map(
        |(thinking, texts, calls, tokens)| {
            let mut events: Vec<Event> = thinking.into_iter().map(Event::Thinking).collect();
            events.extend(texts.into_iter().map(Event::Text));
            if calls {
                for (index, name) in [(0, "first"), (1, "second")] {
                    events.push(Event::ToolCall(ToolCallDelta {
                        index,
                        id: Some(format!("call_{index}")),
                        name: Some(name.to_owned()),
                        arguments: "{\"z\":1,\"a\":[2]}".to_owned(),
                    }));
                }
            }
            events.push(Event::Finish(if calls {
                FinishReason::ToolCalls
            } else {
                FinishReason::Stop
            }));
            events.push(Event::Usage(Usage {
                prompt_tokens: tokens,
                completion_tokens: 7,
                ..Usage::default()
            }));
            events
        },
    )
}

proptest! {
    #[test]
    fn streams_say_the_same_in_every_dialect(events in answer(), piece in 1..200_usize) {
        let expected = seen(&events);
        for node in CHATS {
            let from_node = read(node, written(node, &events), piece);
            prop_assert_eq!(&seen(&from_node), &expected);
            for client in CHATS {
                let at_client = read(client, written(client, &from_node), piece);
                prop_assert_eq!(&seen(&at_client), &expected);
            }
        }
    }

    #[test]
    fn whole_bodies_say_the_same_in_every_dialect(events in answer()) {
        let expected = seen(&events);
        let meta = ResponseMeta::plain("m", "resp_1", NOW);
        for operation in CHATS {
            let body = encode_whole(operation, &meta, &events, NOW).unwrap();
            prop_assert_eq!(&seen(&decode_whole(operation, 200, &body).unwrap()), &expected);
        }
    }
}

#[test]
fn reasons_to_end_survive_every_dialect() {
    let meta = ResponseMeta::plain("m", "resp_1", NOW);
    for operation in CHATS {
        let events = [
            Event::Text("a".to_owned()),
            Event::Finish(FinishReason::Length),
        ];
        let body = encode_whole(operation, &meta, &events, NOW).unwrap();
        let read = decode_whole(operation, 200, &body).unwrap();
        assert!(
            read.contains(&Event::Finish(FinishReason::Length)),
            "{operation:?}"
        );
    }
}

#[test]
fn a_node_that_stops_midway_is_noticed_in_every_dialect() {
    for operation in CHATS {
        let body = written(
            operation,
            &[
                Event::Text("a".to_owned()),
                Event::Finish(FinishReason::Stop),
            ],
        );
        let mut splitter = FrameSplitter::new(operation.framing());
        splitter.push(body);
        let mut frames = Vec::new();
        while let Some(frame) = splitter.next_frame().unwrap() {
            frames.push(frame);
        }
        frames.pop();
        let mut decoder = ResponseDecoder::new(operation);
        let mut events = Vec::new();
        for frame in &frames {
            decoder.push(frame, &mut events);
        }
        assert!(decoder.finish().is_err(), "{operation:?}");
    }
}

/// Frames that nodes really send, in every dialect, among noise: what they say does not depend on where the bytes are cut.
fn noisy_stream(operation: Operation) -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<String> = match operation {
        Operation::OllamaChat => vec![
            "{\"model\":\"m\",\"created_at\":\"t\",\"message\":{\"content\":\"a\"},\"done\":false}\n".into(),
            "{\"model\":\"m\",\"created_at\":\"u\",\"message\":{\"content\":\"\\n\\u00e4\"},\"done\":false}\n".into(),
            "{\"message\":{\"content\":\"\"},\"done\":true,\"eval_count\":-1}\n".into(),
            "{\"error\":\"no\"}\n".into(),
        ],
        Operation::OpenAiChat => vec![
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n".into(),
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\\"b\\\"\"}}]}\n\n".into(),
            "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"c\"}}]}\r\n\r\n".into(),
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":-3,\"completion_tokens\":1e99}}\n\n".into(),
            ": ping\n\n".into(),
            "data: [DONE]\n\n".into(),
        ],
        _ => vec![
            "event: x\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"text\":\"a\"}}\n\n".into(),
            "event: ping\ndata: {\"type\":\"ping\"}\n\n".into(),
            "data: {\"type\":\"response.output_text.delta\",\"delta\":\"b\"}\n\n".into(),
            "data: {\"type\":\"message_stop\"}\n\n".into(),
        ],
    };
    let frame = proptest::prop_oneof![
        4 => proptest::sample::select(known).prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..24),
    ];
    proptest::collection::vec(frame, 0..12).prop_map(|frames| frames.concat())
}

/// Reads a body that comes in these pieces, with whatever is left at its end.
fn read_cut(operation: Operation, body: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut splitter = FrameSplitter::new(operation.framing());
    let mut decoder = ResponseDecoder::new(operation);
    let mut events = Vec::new();
    for piece in cuts.windows(2) {
        splitter.push(Bytes::copy_from_slice(&body[piece[0]..piece[1]]));
        while let Some(frame) = splitter.next_frame().unwrap() {
            decoder.push(&frame, &mut events);
        }
    }
    if let Some(rest) = splitter.take_rest() {
        decoder.push(&rest, &mut events);
    }
    events
}

proptest! {
    #[test]
    fn events_do_not_depend_on_where_foreign_bytes_are_cut(
        operation in proptest::sample::select(CHATS.to_vec()),
        streams in (noisy_stream(Operation::OllamaChat), noisy_stream(Operation::OpenAiChat), noisy_stream(Operation::AnthropicMessages)),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..24),
    ) {
        let body = match operation {
            Operation::OllamaChat => streams.0,
            Operation::OpenAiChat => streams.1,
            _ => streams.2,
        };
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        at.extend([0, body.len()]);
        at.sort_unstable();
        let whole = read_cut(operation, &body, &[0, body.len()]);
        let bytewise: Vec<usize> = (0..=body.len()).collect();
        prop_assert_eq!(&read_cut(operation, &body, &at), &whole);
        prop_assert_eq!(&read_cut(operation, &body, &bytewise), &whole);
    }
}

/// A complete answer of a node whose counts make no sense.
fn miscounted(operation: Operation, count: &str) -> String {
    match operation {
        Operation::OllamaChat => format!(
            r#"{{"model":"m","message":{{"role":"assistant","content":"a"}},"done":true,"prompt_eval_count":{count},"eval_count":{count},"eval_duration":{count}}}"#
        ),
        Operation::OpenAiChat => format!(
            r#"{{"id":"c","created":{count},"choices":[{{"index":0,"message":{{"content":"a"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{count},"completion_tokens":{count},"prompt_tokens_details":{{"cached_tokens":{count}}}}},"timings":{{"prompt_ms":{count}}}}}"#
        ),
        Operation::OpenAiResponses => format!(
            r#"{{"id":"r","created_at":{count},"status":"completed","output":[{{"type":"message","content":[{{"type":"output_text","text":"a"}}]}}],"usage":{{"input_tokens":{count},"output_tokens":{count}}}}}"#
        ),
        _ => format!(
            r#"{{"id":"a","content":[{{"type":"text","text":"a"}}],"stop_reason":"end_turn","usage":{{"input_tokens":{count},"output_tokens":{count}}}}}"#
        ),
    }
}

#[test]
fn a_node_that_cannot_count_has_still_answered() {
    for operation in CHATS {
        for count in ["-1", "-0.5", "99999999999999999999", "\"many\"", "[]"] {
            let body = miscounted(operation, count);
            let events = decode_whole(operation, 200, body.as_bytes()).unwrap();
            assert_eq!(seen(&events).text, "a", "{body}");
            assert_eq!(seen(&events).tokens, (0, 0), "{body}");
            let passed = Observer::whole(operation, body.as_bytes());
            assert!(passed.error.is_none() && passed.complete, "{body}");
            assert_eq!(passed.usage.unwrap_or_default().total_tokens(), 0, "{body}");
        }
    }
}

#[test]
fn what_a_node_miscounts_is_counted_here() {
    let mut decoder = ResponseDecoder::new(Operation::OllamaChat);
    let mut events = Vec::new();
    for line in [
        "{\"message\":{\"content\":\"a\"},\"done\":false}\n",
        "{\"message\":{\"content\":\"b\"},\"done\":false}\n",
        "{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"eval_count\":-7}\n",
    ] {
        decoder.push(line.as_bytes(), &mut events);
    }
    let at_client = read(
        Operation::OpenAiChat,
        written(Operation::OpenAiChat, &events),
        1_000,
    );
    assert_eq!(seen(&at_client).tokens.1, 2);
}
