//! Reading the events and whole bodies of `/v1/responses`.

use serde::Deserialize;

use crate::count::{self, Number};
use crate::decoder::{Progress, malformed};
use crate::error::ApiError;
use crate::event::{Event, FinishReason, ToolCallDelta, Usage};

#[derive(Deserialize)]
struct Frame {
    r#type: String,
    sequence_number: Option<u64>,
    output_index: Option<u32>,
    delta: Option<String>,
    item: Option<Item>,
    response: Option<Body>,
    message: Option<String>,
    code: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    id: Option<String>,
    created_at: Option<Number>,
    model: Option<String>,
    status: Option<String>,
    #[serde(default)]
    output: Vec<Item>,
    usage: Option<UsageWire>,
    error: Option<Failure>,
    incomplete_details: Option<Incomplete>,
}

#[derive(Deserialize)]
struct Failure {
    code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    r#type: String,
    id: Option<String>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    content: Option<Vec<Content>>,
    summary: Option<Vec<Content>>,
}

#[derive(Deserialize)]
struct Content {
    text: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct UsageWire {
    input_tokens: Option<Number>,
    output_tokens: Option<Number>,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct InputDetails {
    cached_tokens: Option<Number>,
}

#[derive(Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<Number>,
}

/// Reads one event of a stream.
pub(crate) fn read_frame(
    json: &[u8],
    progress: &mut Progress,
    events: &mut Vec<Event>,
) -> Result<(), ApiError> {
    if json.starts_with(b"[DONE]") {
        return Ok(());
    }
    let frame: Frame = serde_json::from_slice(json).map_err(|error| malformed(&error))?;
    if let Some(sequence) = frame.sequence_number {
        progress.position.sequence = sequence.saturating_add(1);
    }
    match frame.r#type.as_str() {
        "response.created" => {
            if let Some(body) = frame.response {
                remember(&body, progress);
            }
        }
        "response.output_item.added" => {
            if let Some(item) = frame.item {
                begin_item(item, frame.output_index.unwrap_or(0), progress, events);
            }
        }
        "response.output_item.done" => progress.position.open_text = None,
        "response.output_text.delta" | "response.refusal.delta" => {
            events.extend(frame.delta.filter(|text| !text.is_empty()).map(Event::Text));
        }
        "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
            events.extend(
                frame
                    .delta
                    .filter(|text| !text.is_empty())
                    .map(Event::Thinking),
            );
        }
        "response.function_call_arguments.delta" => {
            let block = frame.output_index.unwrap_or(0);
            let index = progress
                .tool_blocks
                .iter()
                .position(|known| *known == block)
                .unwrap_or(0);
            events.push(Event::ToolCall(ToolCallDelta {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                arguments: frame.delta.unwrap_or_default(),
                ..ToolCallDelta::default()
            }));
        }
        "response.completed" | "response.incomplete" | "response.failed" => {
            let body = frame
                .response
                .ok_or_else(|| ApiError::upstream("the node's last event has no response"))?;
            finish(&body, progress, events)?;
        }
        "error" => {
            let mut error = ApiError::upstream(
                frame
                    .message
                    .unwrap_or_else(|| "the node failed".to_owned()),
            );
            error.code = frame.code;
            return Err(error);
        }
        _ => {}
    }
    Ok(())
}

fn remember(body: &Body, progress: &mut Progress) {
    progress.id.clone_from(&body.id);
    progress.created = body.created_at.and_then(Number::seconds);
    progress.model.clone_from(&body.model);
}

fn begin_item(item: Item, block: u32, progress: &mut Progress, events: &mut Vec<Event>) {
    progress.position.blocks = block.saturating_add(1);
    match item.r#type.as_str() {
        "function_call" => {
            let index = u32::try_from(progress.tool_blocks.len()).unwrap_or(u32::MAX);
            progress.tool_blocks.push(block);
            events.push(Event::ToolCall(ToolCallDelta {
                index,
                id: item.call_id,
                name: item.name,
                arguments: String::new(),
            }));
        }
        "message" => {
            progress.position.open_text = Some(block);
            progress.position.item_id = item.id;
        }
        _ => {}
    }
}

fn finish(body: &Body, progress: &mut Progress, events: &mut Vec<Event>) -> Result<(), ApiError> {
    if body.status.as_deref() == Some("failed") || body.error.is_some() {
        let failure = body.error.as_ref();
        let message = failure.and_then(|failure| failure.message.clone());
        let mut error = ApiError::upstream(message.unwrap_or_else(|| "the node failed".to_owned()));
        error.code = failure.and_then(|failure| failure.code.clone());
        return Err(error);
    }
    progress.complete = true;
    let incomplete = body
        .incomplete_details
        .as_ref()
        .and_then(|details| details.reason.as_deref());
    events.push(Event::Finish(match incomplete {
        Some("content_filter") => FinishReason::ContentFilter,
        Some(_) => FinishReason::Length,
        None if progress.tool_blocks.is_empty() => FinishReason::Stop,
        None => FinishReason::ToolCalls,
    }));
    if let Some(wire) = &body.usage {
        events.extend(usage(wire).map(Event::Usage));
    }
    Ok(())
}

fn usage(wire: &UsageWire) -> Option<Usage> {
    let usage = count::usage(wire.input_tokens, wire.output_tokens)?;
    Some(Usage {
        cached_tokens: wire
            .input_tokens_details
            .as_ref()
            .and_then(|details| details.cached_tokens?.tokens()),
        reasoning_tokens: wire
            .output_tokens_details
            .as_ref()
            .and_then(|details| details.reasoning_tokens?.tokens()),
        ..usage
    })
}

/// Reads a whole body.
pub(crate) fn read_whole(
    body: &[u8],
    progress: &mut Progress,
    events: &mut Vec<Event>,
) -> Result<(), ApiError> {
    let body: Body = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    remember(&body, progress);
    for (block, item) in (0..).zip(&body.output) {
        for content in item.summary.iter().flatten() {
            events.extend(content.text.clone().map(Event::Thinking));
        }
        match item.r#type.as_str() {
            "message" => {
                for content in item.content.iter().flatten() {
                    events.extend(
                        content
                            .text
                            .clone()
                            .or_else(|| content.refusal.clone())
                            .map(Event::Text),
                    );
                }
            }
            "function_call" => {
                let index = u32::try_from(progress.tool_blocks.len()).unwrap_or(u32::MAX);
                progress.tool_blocks.push(block);
                events.push(Event::ToolCall(ToolCallDelta {
                    index,
                    id: item.call_id.clone(),
                    name: item.name.clone(),
                    arguments: item.arguments.clone().unwrap_or_default(),
                }));
            }
            _ => {}
        }
    }
    finish(&body, progress, events)
}

#[cfg(test)]
mod tests {
    use crate::{Event, FinishReason, Operation, ResponseDecoder, decode_whole};

    #[test]
    fn a_stream_becomes_events() {
        let mut decoder = ResponseDecoder::new(Operation::OpenAiResponses);
        let mut events = Vec::new();
        for frame in [
            r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","created_at":5,"model":"m"}}"#,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"msg_1","content":[]}}"#,
            r#"{"type":"response.output_text.delta","output_index":0,"delta":"hi"}"#,
            r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","call_id":"c","name":"f"}}"#,
            r#"{"type":"response.function_call_arguments.delta","output_index":1,"delta":"{}"}"#,
            r#"{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":1,"output_tokens":2}}}"#,
        ] {
            decoder.push(
                format!("event: x\ndata: {frame}\n\n").as_bytes(),
                &mut events,
            );
        }
        assert!(decoder.is_complete());
        assert_eq!(events[0], Event::Text("hi".into()));
        assert!(matches!(&events[1], Event::ToolCall(call) if call.name.as_deref() == Some("f")));
        assert!(matches!(&events[2], Event::ToolCall(call) if call.arguments == "{}"));
        assert_eq!(events[3], Event::Finish(FinishReason::ToolCalls));
    }

    #[test]
    fn whole_bodies_and_failures_are_read() {
        let body = br#"{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[
            {"type":"reasoning","summary":[{"text":"hm"}]},{"type":"message","content":[{"type":"output_text","text":"a"}]}]}"#;
        let events = decode_whole(Operation::OpenAiResponses, 200, body).unwrap();
        assert_eq!(
            events,
            [
                Event::Thinking("hm".into()),
                Event::Text("a".into()),
                Event::Finish(FinishReason::Length)
            ]
        );
        let failed = br#"{"status":"failed","error":{"code":"server_error","message":"no"}}"#;
        assert_eq!(
            decode_whole(Operation::OpenAiResponses, 200, failed)
                .unwrap_err()
                .message,
            "no"
        );
    }
}
