//! Finds a field in a multipart form (RFC 7578) without taking the form apart: the body goes to the node as it came.

use bytes::Bytes;
use dialects::ApiError;
use http::HeaderValue;
use memchr::memmem;

/// Longest value of a field that is looked at.
const MAX_VALUE: usize = 1 << 10;

/// Returns the boundary of a multipart content type.
pub(super) fn boundary(content_type: &HeaderValue) -> Option<String> {
    let text = content_type.to_str().ok()?;
    let (kind, parameters) = text.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(parameters, "boundary").filter(|b| !b.is_empty() && b.len() <= 70)
}

/// Returns the value of the one part with that name; `None` when there is none.
///
/// Two parts of the name are refused: the node might believe the other one.
pub(super) fn field(body: &Bytes, boundary: &str, name: &str) -> Result<Option<String>, ApiError> {
    let delimiter = format!("--{boundary}");
    let mut found = None;
    let starts: Vec<usize> = memmem::find_iter(body, delimiter.as_bytes()).collect();
    for pair in starts.windows(2) {
        let [start, end] = pair else { continue };
        let part = body.get(start + delimiter.len()..*end).unwrap_or_default();
        let Some(split) = memmem::find(part, b"\r\n\r\n") else {
            continue;
        };
        let (head, value) = part.split_at(split);
        let head = String::from_utf8_lossy(head);
        let named = head.split("\r\n").any(|line| {
            line.split_once(':').is_some_and(|(key, rest)| {
                key.trim().eq_ignore_ascii_case("content-disposition")
                    && parameter(rest, "name").is_some_and(|n| n.eq_ignore_ascii_case(name))
            })
        });
        if !named {
            continue;
        }
        let value = value.strip_prefix(b"\r\n\r\n").unwrap_or(value);
        let value = value.strip_suffix(b"\r\n").unwrap_or(value);
        if found.is_some() || value.len() > MAX_VALUE {
            return Err(ApiError::invalid_field(
                name,
                "the form must have this field once, and short",
            ));
        }
        found = Some(String::from_utf8_lossy(value).into_owned());
    }
    Ok(found)
}

/// Returns a parameter of a header, with or without quotes.
fn parameter(text: &str, name: &str) -> Option<String> {
    text.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(body: &'static str) -> Result<Option<String>, ApiError> {
        field(&Bytes::from_static(body.as_bytes()), "b", "model")
    }

    #[test]
    fn only_a_part_of_that_name_counts() {
        let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--b--";
        assert_eq!(model(form).unwrap().as_deref(), Some("whisper"));
        let unquoted = "--b\r\ncontent-disposition: form-data; name=model\r\n\r\nwhisper\r\n--b--";
        assert_eq!(model(unquoted).unwrap().as_deref(), Some("whisper"));
        let inside = "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nname=\"model\"\r\n\r\nx\r\n--b--";
        assert_eq!(model(inside).unwrap(), None);
        let other =
            "--b\r\nContent-Disposition: form-data; name=\"x\"; xname=\"model\"\r\n\r\ny\r\n--b--";
        assert_eq!(model(other).unwrap(), None);
    }

    #[test]
    fn two_models_are_refused() {
        let twice = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nb\r\n--b--";
        assert!(model(twice).is_err());
    }

    #[test]
    fn boundaries_are_read_from_the_content_type() {
        let of = |text: &'static str| boundary(&HeaderValue::from_static(text));
        assert_eq!(
            of("multipart/form-data; boundary=\"b\"").as_deref(),
            Some("b")
        );
        assert_eq!(of("application/json"), None);
    }
}
