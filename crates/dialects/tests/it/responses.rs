//! An answer that goes from a node's dialect into a client's says the same, however the network cuts it.

use bytes::{Bytes, BytesMut};
use primitives::Timestamp;
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use remuda_dialects::{
    Event, FinishReason, FrameSplitter, Operation, ResponseDecoder, ResponseEncoder, ResponseMeta,
    ToolCallDelta, Usage, decode_whole, encode_whole,
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
