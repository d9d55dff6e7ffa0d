//! Asking for the usage of a stream in the client's place (`stream_options.include_usage` of OpenAI's dialect).

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use serde_json::{Map, Value};

use crate::head::span_in;
use crate::scan::Scanner;

const WISH: &[u8] = b"\"stream_options\":{\"include_usage\":true},";

/// Returns the body with the wish for usage in it; whatever else the stream's options say stays. `None` when the body has the wish
/// already, or is no object with fields.
pub fn ask_for_usage(body: &[u8]) -> Option<Bytes> {
    // Most have no such word anywhere.
    let written = memmem::find(body, b"\"stream_options\"").and_then(|_| options_in(body));
    let Some((span, options)) = written else {
        let brace = memchr::memchr(b'{', body)?;
        return Some(spliced(body, brace + 1..brace + 1, WISH));
    };
    let mut options: Map<String, Value> = match serde_json::from_str(options).ok()? {
        Value::Null => Map::new(),
        Value::Object(options) => options,
        // What this is to say, the node may tell.
        _ => return None,
    };
    let wish = options.insert("include_usage".to_owned(), Value::Bool(true));
    if wish == Some(Value::Bool(true)) {
        return None;
    }
    let options = Value::Object(options).to_string();
    Some(spliced(body, span, options.as_bytes()))
}

/// Finds the value of the body's own `stream_options`.
fn options_in(body: &[u8]) -> Option<(Range<usize>, &str)> {
    let mut found = None;
    Scanner::new(body)?.object(|name, scanner| {
        if name != "stream_options" {
            return scanner.skip();
        }
        found = Some(scanner.value()?);
        Some(())
    })?;
    let value = found?;
    Some((span_in(body, value)?, value))
}

fn spliced(body: &[u8], span: Range<usize>, with: &[u8]) -> Bytes {
    let (before, after) = (
        body.get(..span.start).unwrap_or(body),
        body.get(span.end..).unwrap_or_default(),
    );
    let mut out = BytesMut::with_capacity(body.len() + with.len());
    out.extend_from_slice(before);
    out.extend_from_slice(with);
    out.extend_from_slice(after);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Option<Value> {
        let body = ask_for_usage(body.as_bytes())?;
        Some(serde_json::from_slice::<Value>(&body).unwrap()["stream_options"].take())
    }

    #[test]
    fn the_wish_is_added_whatever_the_client_left_open() {
        let wish = Some(serde_json::json!({"include_usage": true}));
        for body in [
            r#" {"model":"m","stream":true}"#,
            r#"{"stream_options":{},"model":"m"}"#,
            r#"{"model":"m","stream_options":null}"#,
            r#"{"model":"m","stream_options":{"include_usage":false}}"#,
            r#"{"model":"m","messages":[{"content":"say \"stream_options\""}]}"#,
            r#"{"model":"m","tools":[{"stream_options":{"include_usage":true}}]}"#,
        ] {
            assert_eq!(asked(body), wish, "{body}");
        }
        assert_eq!(
            asked(r#"{"stream_options":{"chunk_size":2},"model":"m"}"#),
            Some(serde_json::json!({"chunk_size": 2, "include_usage": true}))
        );
    }

    #[test]
    fn who_has_asked_is_left_alone() {
        assert_eq!(
            asked(r#"{"stream_options":{"include_usage":true},"model":"m"}"#),
            None
        );
        assert_eq!(asked(r#"{"stream_options":7,"model":"m"}"#), None);
    }
}
