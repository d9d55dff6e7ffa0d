//! The context size that a request asks for, put in its place again.

use bytes::{Bytes, BytesMut};

use crate::canonical::Request;
use crate::head::span_in;
use crate::json::{Json, Object, body_object, field};
use crate::operation::{Dialect, Operation};

const NUM_CTX: &str = "num_ctx";

/// Returns a body of Ollama's with another `options.num_ctx`, everything else unchanged. `None` when it has none.
pub fn replace_num_ctx(operation: Operation, body: &[u8], num_ctx: u32) -> Option<Bytes> {
    if operation.dialect() != Dialect::Ollama {
        return None;
    }
    let fields = body_object(body).ok()?.0;
    let (_, options) = fields.iter().rev().find(|(name, _)| *name == "options")?;
    let options = field::<Object<'_>>("options", options).ok()?.0;
    let (_, number) = options.iter().rev().find(|(name, _)| *name == NUM_CTX)?;
    let span = span_in(body, number.get())?;
    let number = num_ctx.to_string();
    let mut out = BytesMut::with_capacity(body.len() + number.len());
    out.extend_from_slice(body.get(..span.start)?);
    out.extend_from_slice(number.as_bytes());
    out.extend_from_slice(body.get(span.end..)?);
    Some(out.freeze())
}

impl Request {
    /// Puts another `num_ctx` in place of the one that the request asks for. Without one it stays as it is.
    pub fn set_num_ctx(&mut self, num_ctx: u32) {
        let options = match self {
            Self::Chat(chat) => &mut chat.generation.node_options,
            Self::Completion(completion) => &mut completion.generation.node_options,
            Self::Embed(embed) => &mut embed.node_options,
        };
        if let Some(value) = Json::parse(&num_ctx.to_string()) {
            options.replace(NUM_CTX, &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode_request;

    #[test]
    fn only_the_number_changes() {
        let body = br#"{"model":"m", "options": {"seed":1,"num_ctx": 2048 ,"top_k":2}, "prompt":"\"num_ctx\": 1"}"#;
        let replaced = replace_num_ctx(Operation::OllamaGenerate, body, 8192).unwrap();
        assert_eq!(
            replaced,
            r#"{"model":"m", "options": {"seed":1,"num_ctx": 8192 ,"top_k":2}, "prompt":"\"num_ctx\": 1"}"#
        );
        let none = br#"{"model":"m","options":{"seed":1}}"#;
        assert_eq!(replace_num_ctx(Operation::OllamaChat, none, 1), None);
        assert_eq!(replace_num_ctx(Operation::OpenAiChat, body, 1), None);
        assert_eq!(replace_num_ctx(Operation::OllamaChat, b"[", 1), None);
        let mut request = decode_request(Operation::OllamaGenerate, body).unwrap();
        request.set_num_ctx(8192);
        let expected = decode_request(Operation::OllamaGenerate, &replaced).unwrap();
        assert_eq!(request, expected);
    }
}
