//! Reading the events and whole bodies of `/v1/messages`.

use serde::Deserialize;

use crate::count::Number;
use crate::decoder::{Progress, malformed};
use crate::envelope::decode_stream_error;
use crate::error::ApiError;
use crate::event::{Event, FinishReason, ToolCallDelta, Usage};
use crate::json::Json;

#[derive(Deserialize)]
struct Frame {
    r#type: Option<String>,
    index: Option<u32>,
    message: Option<Body>,
    content_block: Option<Block>,
    delta: Option<Delta>,
    usage: Option<UsageWire>,
}

#[derive(Deserialize)]
struct Body {
    id: Option<String>,
    model: Option<String>,
    content: Option<Vec<Block>>,
    stop_reason: Option<String>,
    usage: Option<UsageWire>,
}

#[derive(Deserialize)]
struct Block {
    r#type: String,
    text: Option<String>,
    thinking: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Json>,
}

#[derive(Deserialize)]
struct Delta {
    text: Option<String>,
    thinking: Option<String>,
    partial_json: Option<String>,
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct UsageWire {
    #[serde(rename = "input_tokens")]
    input: Option<Number>,
    #[serde(rename = "output_tokens")]
    output: Option<Number>,
    #[serde(rename = "cache_read_input_tokens")]
    cache_read: Option<Number>,
    #[serde(rename = "cache_creation_input_tokens")]
    cache_creation: Option<Number>,
}

/// Reads one event of a stream.
pub(crate) fn read_frame(
    json: &[u8],
    progress: &mut Progress,
    events: &mut Vec<Event>,
) -> Result<(), ApiError> {
    let frame: Frame = serde_json::from_slice(json).map_err(|error| malformed(&error))?;
    match frame.r#type.as_deref() {
        Some("message_start") => {
            if let Some(message) = frame.message {
                remember(&message, progress);
            }
        }
        Some("content_block_start") => {
            let block = frame.index.unwrap_or(0);
            progress.position.blocks = block.saturating_add(1);
            if let Some(content) = frame.content_block {
                progress.position.open_text = (content.r#type == "text").then_some(block);
                // The input comes in deltas; what stands here is an empty object.
                read_block(content, BlockIs::Opening(block), progress, events);
            }
        }
        Some("content_block_delta") => {
            if let Some(delta) = frame.delta {
                read_delta(delta, frame.index.unwrap_or(0), progress, events);
            }
        }
        Some("content_block_stop") => progress.position.open_text = None,
        Some("message_delta") => {
            if let Some(reason) = frame.delta.and_then(|delta| delta.stop_reason) {
                events.push(Event::Finish(finish_reason(&reason)));
            }
            if let Some(usage) = &frame.usage {
                add_usage(usage, progress.usage.get_or_insert_default());
            }
            events.push(Event::Usage(
                progress.usage.as_deref().copied().unwrap_or_default(),
            ));
        }
        Some("message_stop") => progress.complete = true,
        Some("error") | None => {
            return Err(
                decode_stream_error(json).unwrap_or_else(|| ApiError::upstream("the node failed"))
            );
        }
        Some(_) => {}
    }
    Ok(())
}

fn remember(body: &Body, progress: &mut Progress) {
    progress.id.clone_from(&body.id);
    progress.model.clone_from(&body.model);
    if let Some(usage) = &body.usage {
        add_usage(usage, progress.usage.get_or_insert_default());
    }
}

/// Later numbers replace earlier ones. Cached tokens are part of the prompt here, but not in Anthropic's `input_tokens`.
fn add_usage(wire: &UsageWire, usage: &mut Usage) {
    let tokens = |count: Option<Number>| count.and_then(Number::tokens);
    let cached = tokens(wire.cache_read);
    if let Some(input) = tokens(wire.input) {
        usage.prompt_tokens = input
            .saturating_add(cached.unwrap_or(0))
            .saturating_add(tokens(wire.cache_creation).unwrap_or(0));
        usage.cached_tokens = cached;
    }
    if let Some(output) = tokens(wire.output) {
        usage.completion_tokens = output;
    }
}

#[derive(Clone, Copy)]
enum BlockIs {
    /// The start of a streamed block with this index.
    Opening(u32),
    /// Complete.
    Whole(u32),
}

fn read_block(block: Block, is: BlockIs, progress: &mut Progress, events: &mut Vec<Event>) {
    let (number, arguments) = match is {
        BlockIs::Opening(number) => (number, String::new()),
        BlockIs::Whole(number) => {
            let input = block.input.as_ref();
            (
                number,
                input.map_or_else(|| "{}".to_owned(), |input| input.text().to_owned()),
            )
        }
    };
    match block.r#type.as_str() {
        "text" => events.extend(block.text.filter(|text| !text.is_empty()).map(Event::Text)),
        "thinking" => events.extend(
            block
                .thinking
                .filter(|text| !text.is_empty())
                .map(Event::Thinking),
        ),
        "tool_use" => {
            let index = u32::try_from(progress.tool_blocks.len()).unwrap_or(u32::MAX);
            progress.tool_blocks.push(number);
            events.push(Event::ToolCall(ToolCallDelta {
                index,
                id: block.id,
                name: block.name,
                arguments,
            }));
        }
        _ => {}
    }
}

fn read_delta(delta: Delta, block: u32, progress: &Progress, events: &mut Vec<Event>) {
    events.extend(
        delta
            .thinking
            .filter(|text| !text.is_empty())
            .map(Event::Thinking),
    );
    events.extend(delta.text.filter(|text| !text.is_empty()).map(Event::Text));
    if let Some(arguments) = delta.partial_json {
        let index = progress
            .tool_blocks
            .iter()
            .position(|known| *known == block)
            .unwrap_or(0);
        events.push(Event::ToolCall(ToolCallDelta {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            arguments,
            ..ToolCallDelta::default()
        }));
    }
}

fn finish_reason(name: &str) -> FinishReason {
    match name {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

/// Reads a whole body.
pub(crate) fn read_whole(
    body: &[u8],
    progress: &mut Progress,
    events: &mut Vec<Event>,
) -> Result<(), ApiError> {
    let mut body: Body = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    remember(&body, progress);
    let content = body
        .content
        .take()
        .ok_or_else(|| ApiError::upstream("the node's response has no content"))?;
    for (number, block) in (0..).zip(content) {
        read_block(block, BlockIs::Whole(number), progress, events);
    }
    progress.complete = true;
    events.push(Event::Finish(finish_reason(
        body.stop_reason.as_deref().unwrap_or("end_turn"),
    )));
    events.push(Event::Usage(
        progress.usage.as_deref().copied().unwrap_or_default(),
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::{Event, FinishReason, Operation, ResponseDecoder, decode_whole};

    #[test]
    fn a_stream_becomes_events() {
        let mut decoder = ResponseDecoder::new(Operation::AnthropicMessages);
        let mut events = Vec::new();
        for frame in [
            r#"{"type":"message_start","message":{"id":"msg_1","model":"m","content":[],"usage":{"input_tokens":5,"cache_read_input_tokens":3,"output_tokens":1}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}"#,
            r#"{"type":"message_stop"}"#,
        ] {
            decoder.push(
                format!("event: x\ndata: {frame}\n\n").as_bytes(),
                &mut events,
            );
        }
        assert!(decoder.is_complete());
        assert_eq!(events[0], Event::Text("hi".into()));
        assert!(
            matches!(&events[2], Event::ToolCall(call) if call.index == 0 && call.arguments == "{\"a\":1}")
        );
        assert_eq!(events[3], Event::Finish(FinishReason::ToolCalls));
        assert!(
            matches!(&events[4], Event::Usage(usage) if (usage.prompt_tokens, usage.completion_tokens) == (8, 9))
        );
    }

    #[test]
    fn whole_bodies_keep_the_order_of_tool_arguments() {
        let body = br#"{"id":"m","content":[{"type":"thinking","thinking":"hm"},{"type":"tool_use","id":"t","name":"f","input":{"z":1,"a":2}}],
            "stop_reason":"max_tokens","usage":{"input_tokens":1,"output_tokens":2}}"#;
        let events = decode_whole(Operation::AnthropicMessages, 200, body).unwrap();
        assert_eq!(events[0], Event::Thinking("hm".into()));
        assert!(
            matches!(&events[1], Event::ToolCall(call) if call.arguments == r#"{"z":1,"a":2}"#)
        );
        assert_eq!(events[2], Event::Finish(FinishReason::Length));
    }
}
