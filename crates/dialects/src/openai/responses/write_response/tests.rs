//! What goes out, event by event.

use bytes::BytesMut;
use primitives::Timestamp;
use serde_json::Value;

use crate::{
    ApiError, Event, FinishReason, Observer, Operation, ResponseEncoder, ResponseMeta,
    ToolCallDelta, encode_whole,
};

const NOW: Timestamp = Timestamp::from_micros(1_000_000);
const RESPONSES: Operation = Operation::OpenAiResponses;

fn frames(text: &BytesMut) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    let events = text.split_terminator("\n\n").map(|event| {
        let (name, data) = event.split_once("\ndata: ").unwrap();
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(name.strip_prefix("event: "), value["type"].as_str());
        value
    });
    events.collect()
}

fn names(frames: &[Value]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| frame["type"].as_str().unwrap())
        .collect()
}

#[test]
fn a_stream_has_every_event_in_order() {
    let mut encoder = ResponseEncoder::new(RESPONSES, ResponseMeta::plain("m", "resp_1", NOW));
    let mut out = BytesMut::new();
    let call = ToolCallDelta {
        id: Some("c".into()),
        name: Some("f".into()),
        arguments: "{}".into(),
        index: 0,
    };
    for event in [
        Event::Text("a".into()),
        Event::Text("b".into()),
        Event::ToolCall(call),
    ] {
        encoder.event(&event, NOW, &mut out);
    }
    encoder.finish(NOW, &mut out);
    let frames = frames(&out);
    assert_eq!(
        names(&frames),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let numbers: Vec<u64> = frames
        .iter()
        .map(|frame| frame["sequence_number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..14).collect::<Vec<u64>>());
    let output = &frames[13]["response"]["output"];
    assert_eq!(output[0]["content"][0]["text"], "ab");
    assert_eq!(output[1]["arguments"], "{}");
}

#[test]
fn failures_and_limits_show_in_the_last_event() {
    let mut encoder = ResponseEncoder::new(RESPONSES, ResponseMeta::plain("m", "resp_1", NOW));
    let mut out = BytesMut::new();
    encoder.event(&Event::Text("a".into()), NOW, &mut out);
    encoder.error(&ApiError::truncated(), &mut out);
    assert_eq!(names(&frames(&out)).last(), Some(&"response.failed"));
    let meta = ResponseMeta::plain("m", "resp_1", NOW);
    let body = encode_whole(
        RESPONSES,
        &meta,
        &[Event::Finish(FinishReason::Length)],
        NOW,
    )
    .unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["status"], "incomplete");
    assert_eq!(body["incomplete_details"]["reason"], "max_output_tokens");
}

#[test]
fn a_resumed_stream_goes_on_in_its_item() {
    let mut first = ResponseEncoder::new(RESPONSES, ResponseMeta::plain("m", "resp_1", NOW));
    let mut sent = BytesMut::new();
    first.event(&Event::Text("a".into()), NOW, &mut sent);
    let mut observer = Observer::new(RESPONSES);
    for frame in std::str::from_utf8(&sent).unwrap().split_inclusive("\n\n") {
        observer.frame(frame.as_bytes());
    }
    let meta = ResponseMeta::plain("m", "resp_other", NOW);
    let mut second = ResponseEncoder::resume(RESPONSES, meta, observer.state());
    second.event(&Event::Text("b".into()), NOW, &mut sent);
    second.finish(NOW, &mut sent);
    let frames = frames(&sent);
    let numbers: Vec<u64> = frames
        .iter()
        .map(|frame| frame["sequence_number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..10).collect::<Vec<u64>>());
    assert_eq!(frames[9]["response"]["id"], "resp_1");
    assert_eq!(
        frames[9]["response"]["output"][0]["content"][0]["text"],
        "ab"
    );
}
