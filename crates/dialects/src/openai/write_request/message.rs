//! Messages with their text, media and calls; calls without an id get one.

use std::borrow::Cow;

use serde::Serialize;

use crate::canonical::{Message, Part, Role};
use crate::error::ApiError;
use crate::media::data_uri;
use crate::target::ServerKind;

#[derive(Serialize)]
pub(super) struct WireMessage<'a> {
    role: &'static str,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WirePart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: WireImage<'a> },
    InputAudio { input_audio: WireAudio<'a> },
}

#[derive(Serialize)]
struct WireImage<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct WireAudio<'a> {
    data: &'a str,
    format: &'a str,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: Cow<'a, str>,
    r#type: &'static str,
    function: WireCalled<'a>,
}

#[derive(Serialize)]
struct WireCalled<'a> {
    name: &'a str,
    arguments: &'a str,
}

pub(super) fn wire_message(
    messages: &[Message],
    at: usize,
    server: ServerKind,
) -> Result<WireMessage<'_>, ApiError> {
    let message = &messages[at];
    let calls = message
        .tool_calls
        .iter()
        .enumerate()
        .map(|(position, call)| WireCall {
            id: call
                .id
                .as_deref()
                .map_or_else(|| made_up_id(at, position).into(), Cow::Borrowed),
            r#type: "function",
            function: WireCalled {
                name: &call.name,
                arguments: if call.arguments.trim().is_empty() {
                    "{}"
                } else {
                    &call.arguments
                },
            },
        });
    Ok(WireMessage {
        role: match message.role {
            // Local servers' templates know no developer.
            Role::Developer if server != ServerKind::Other => Role::System.as_str(),
            role => role.as_str(),
        },
        content: content(&message.parts, server)?.or_else(|| {
            // Only an answer that consists of calls has no content, and llama-cpp-python wants one there, too.
            (message.role != Role::Assistant
                || message.tool_calls.is_empty()
                || server == ServerKind::LlamaCppPython)
                .then_some(Content::Text(""))
        }),
        reasoning_content: message
            .thinking
            .as_deref()
            .filter(|_| server != ServerKind::Other),
        name: message.name.as_deref(),
        tool_calls: calls.collect(),
        tool_call_id: match (message.role, &message.tool_call_id) {
            (_, Some(id)) => Some(Cow::Borrowed(id)),
            (Role::Tool, None) => Some(answered_call(messages, at)),
            _ => None,
        },
    })
}

/// Makes the id of a call that came without one; Ollama's clients tell calls apart by name and order.
fn made_up_id(message: usize, position: usize) -> String {
    format!("call_{message}_{position}")
}

/// Finds the id of the call that a tool's message without one answers: the first of its name, else of its place.
fn answered_call(messages: &[Message], at: usize) -> Cow<'_, str> {
    let asked = messages[..at]
        .iter()
        .rposition(|message| !message.tool_calls.is_empty());
    let Some(asked) = asked else {
        return made_up_id(at, 0).into();
    };
    let calls = &messages[asked].tool_calls;
    let answer = &messages[at];
    let place = messages[asked + 1..at]
        .iter()
        .filter(|message| message.role == Role::Tool)
        .count();
    let same_name_before = messages[asked + 1..at]
        .iter()
        .filter(|message| message.role == Role::Tool && message.tool_name == answer.tool_name)
        .count();
    let by_name = calls
        .iter()
        .enumerate()
        .filter(|(_, call)| Some(&call.name) == answer.tool_name.as_ref())
        .nth(same_name_before)
        .map(|(position, _)| position);
    let position = by_name.unwrap_or(place);
    match calls.get(position).and_then(|call| call.id.as_deref()) {
        Some(id) => Cow::Borrowed(id),
        None => made_up_id(asked, position).into(),
    }
}

fn content(parts: &[Part], server: ServerKind) -> Result<Option<Content<'_>>, ApiError> {
    match parts {
        [] => return Ok(None),
        [Part::Text(text)] => return Ok(Some(Content::Text(text))),
        _ => {}
    }
    let parts = parts.iter().map(|part| {
        Ok(match part {
            Part::Text(text) => WirePart::Text { text },
            Part::Image {
                media_type,
                data,
                detail,
            } => WirePart::ImageUrl {
                image_url: WireImage {
                    url: data_uri(media_type, data).into(),
                    detail: detail.as_deref(),
                },
            },
            Part::ImageUrl { .. } if server == ServerKind::Ollama => {
                return Err(ApiError::unsupported(
                    "image_url",
                    "Ollama does not fetch images; send them as base64 data URIs",
                ));
            }
            Part::ImageUrl { url, detail } => WirePart::ImageUrl {
                image_url: WireImage {
                    url: url.into(),
                    detail: detail.as_deref(),
                },
            },
            Part::Audio { data, format } => WirePart::InputAudio {
                input_audio: WireAudio { data, format },
            },
        })
    });
    Ok(Some(Content::Parts(
        parts.collect::<Result<_, ApiError>>()?,
    )))
}
