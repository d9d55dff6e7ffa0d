//! Messages with their text, media and calls.

use serde::Deserialize;

use crate::canonical::{Message, Part, Role, ToolCall};
use crate::error::ApiError;
use crate::json::Json;
use crate::media::split_data_uri;

#[derive(Deserialize)]
pub(super) struct WireMessage {
    role: String,
    content: Option<Content>,
    reasoning: Option<String>,
    reasoning_content: Option<String>,
    refusal: Option<String>,
    name: Option<String>,
    tool_calls: Option<Vec<WireCall>>,
    tool_call_id: Option<String>,
    function_call: Option<Json>,
    audio: Option<Json>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<WirePart>),
}

#[derive(Deserialize)]
struct WirePart {
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<WireImage>,
    input_audio: Option<WireAudio>,
}

#[derive(Deserialize)]
struct WireImage {
    url: String,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct WireAudio {
    data: String,
    format: String,
}

#[derive(Deserialize)]
struct WireCall {
    id: Option<String>,
    function: Option<WireCalled>,
}

#[derive(Deserialize)]
struct WireCalled {
    name: String,
    #[serde(default)]
    arguments: String,
}

pub(super) fn message(wire: WireMessage) -> Result<Message, ApiError> {
    let role = Role::from_name(&wire.role).ok_or_else(|| {
        let text = format!(
            "unknown role '{}'; use system, developer, user, assistant or tool",
            wire.role
        );
        ApiError::invalid_field("messages", text)
    })?;
    if wire.function_call.is_some() {
        return Err(ApiError::unsupported("function_call", "use 'tool_calls'"));
    }
    if wire.audio.is_some() {
        return Err(ApiError::unsupported(
            "audio",
            "earlier audio answers cannot be referred to",
        ));
    }
    let mut message = Message::new(role);
    message.thinking = wire
        .reasoning
        .or(wire.reasoning_content)
        .filter(|text| !text.is_empty());
    message.name = wire.name;
    message.tool_call_id = wire.tool_call_id;
    match wire.content {
        Some(Content::Text(text)) if !text.is_empty() => message.parts.push(Part::Text(text)),
        Some(Content::Parts(parts)) => {
            message.parts = parts.into_iter().map(part).collect::<Result<_, _>>()?;
        }
        Some(Content::Text(_)) | None => message.parts.extend(wire.refusal.map(Part::Text)),
    }
    for call in wire.tool_calls.into_iter().flatten() {
        let function = call.function.ok_or_else(|| {
            ApiError::unsupported("tool_calls", "only calls of functions can be translated")
        })?;
        message.tool_calls.push(ToolCall {
            id: call.id,
            name: function.name,
            arguments: function.arguments,
        });
    }
    Ok(message)
}

fn part(wire: WirePart) -> Result<Part, ApiError> {
    match wire {
        WirePart {
            text: Some(text), ..
        }
        | WirePart {
            refusal: Some(text),
            ..
        } => Ok(Part::Text(text)),
        WirePart {
            image_url: Some(image),
            ..
        } => Ok(image_part(image.url, image.detail)),
        WirePart {
            input_audio: Some(audio),
            ..
        } => Ok(Part::Audio {
            data: audio.data,
            format: audio.format,
        }),
        WirePart { r#type, .. } => Err(ApiError::unsupported(
            "messages",
            &format!("content of type '{type}' cannot be translated"),
        )),
    }
}

/// Makes a part of an image's URL, which may be the image itself.
pub(crate) fn image_part(url: String, detail: Option<String>) -> Part {
    match split_data_uri(&url) {
        Some((media_type, data)) => Part::Image {
            media_type: media_type.to_owned(),
            data: data.to_owned(),
            detail,
        },
        None => Part::ImageUrl { url, detail },
    }
}
