//! Heads: writes that of a request, reads that of a response.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// Most bytes in the head of a response.
const MAX_HEAD: usize = 64 << 10;
/// Most header lines in the head of a response.
const MAX_HEADERS: usize = 100;
/// Longest Retry-After that is believed.
const MAX_RETRY_AFTER: u64 = 120;

/// How the end of a body is told (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// The end of the connection.
    UntilClose,
}

/// What the gateway needs of a response's head.
#[derive(Clone, Debug)]
pub(crate) struct ResponseHead {
    /// The status.
    pub(crate) status: StatusCode,
    /// The content type.
    pub(crate) content_type: Option<HeaderValue>,
    /// When to come back, at most two minutes.
    pub(crate) retry_after: Option<Duration>,
    pub(in crate::upstream) framing: Framing,
    /// Whether the connection may serve another request afterwards.
    pub(in crate::upstream) keep_alive: bool,
}

impl ResponseHead {
    /// Tells whether the answer says that it comes frame by frame.
    pub(crate) fn is_stream(&self) -> bool {
        let kind = self.content_type.as_ref().and_then(|v| v.to_str().ok());
        kind.is_some_and(|kind| {
            kind.starts_with("text/event-stream") || kind.starts_with("application/x-ndjson")
        })
    }
}

/// The bytes are not the head of an HTTP/1 response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("not an HTTP/1 response")]
    Malformed,
    #[error("the head of the response is too large")]
    TooLarge,
    #[error("the response does not say clearly where its body ends")]
    Ambiguous,
}

/// Writes the head of a request with a body of `length` bytes.
pub(in crate::upstream) fn request_head(
    method: &Method,
    base_path: &str,
    path: &str,
    host: &HeaderValue,
    authorization: Option<&HeaderValue>,
    headers: &HeaderMap,
    length: usize,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(method.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(base_path.as_bytes());
    head.extend_from_slice(path.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    head.extend_from_slice(host.as_bytes());
    if let Some(authorization) = authorization {
        head.extend_from_slice(b"\r\nauthorization: ");
        head.extend_from_slice(authorization.as_bytes());
    }
    for (name, value) in headers {
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
    }
    head.extend_from_slice(b"\r\ncontent-length: ");
    head.extend_from_slice(length.to_string().as_bytes());
    head.extend_from_slice(b"\r\n\r\n");
    head
}

/// Takes the head of a response off the front of `buffer`, skipping interim (1xx) ones. `None`: more bytes are needed.
pub(super) fn take_head(buffer: &mut BytesMut) -> Result<Option<ResponseHead>, HeadError> {
    loop {
        let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut lines);
        let used = match response.parse(buffer) {
            Ok(httparse::Status::Complete(used)) if used <= MAX_HEAD => used,
            Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => {
                return Err(HeadError::TooLarge);
            }
            Ok(httparse::Status::Partial) if buffer.len() >= MAX_HEAD => {
                return Err(HeadError::TooLarge);
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(HeadError::Malformed),
        };
        let head = read(&response)?;
        buffer.advance(used);
        // 101 would make it another protocol, which was not asked for.
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(HeadError::Malformed);
        }
        if !head.status.is_informational() {
            return Ok(Some(head));
        }
    }
}

fn read(response: &httparse::Response<'_, '_>) -> Result<ResponseHead, HeadError> {
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(HeadError::Malformed)?;
    let mut length: Option<u64> = None;
    let mut chunked = false;
    let mut keep_alive = response.version == Some(1);
    let (mut content_type, mut retry_after) = (None, None);
    for line in &*response.headers {
        let name = line.name;
        if name.eq_ignore_ascii_case("content-length") {
            let told: u64 = text(line.value)?
                .parse()
                .map_err(|_| HeadError::Ambiguous)?;
            if length.is_some_and(|before| before != told) {
                return Err(HeadError::Ambiguous);
            }
            length = Some(told);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            // Anything but plain chunked would have to be undone, and was not asked for.
            if chunked || !text(line.value)?.eq_ignore_ascii_case("chunked") {
                return Err(HeadError::Ambiguous);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            let mut options = text(line.value)?.split(',').map(str::trim);
            if options.any(|option| option.eq_ignore_ascii_case("close")) {
                keep_alive = false;
            }
        } else if name.eq_ignore_ascii_case("content-type") {
            content_type = HeaderValue::from_bytes(line.value).ok();
        } else if name.eq_ignore_ascii_case("retry-after") {
            retry_after = text(line.value)?
                .parse::<u64>()
                .ok()
                .map(|seconds| Duration::from_secs(seconds.min(MAX_RETRY_AFTER)));
        }
    }
    let bodiless = matches!(status.as_u16(), 100..=199 | 204 | 304);
    let framing = match (bodiless, chunked, length) {
        (true, ..) => Framing::Length(0),
        // With both, the length is to be ignored (RFC 9112, 6.3); such a connection is not used again.
        (_, true, Some(_)) => {
            keep_alive = false;
            Framing::Chunked
        }
        (_, true, None) => Framing::Chunked,
        (_, false, Some(length)) => Framing::Length(length),
        (_, false, None) => {
            keep_alive = false;
            Framing::UntilClose
        }
    };
    Ok(ResponseHead {
        status,
        content_type,
        retry_after,
        framing,
        keep_alive,
    })
}

fn text(value: &[u8]) -> Result<&str, HeadError> {
    std::str::from_utf8(value)
        .map(str::trim)
        .map_err(|_| HeadError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<ResponseHead>, HeadError> {
        take_head(&mut BytesMut::from(text))
    }

    #[test]
    fn lengths_chunks_and_closes_are_told_apart() {
        let framing = |text: &str| {
            let head = parse(text).unwrap().unwrap();
            (head.framing, head.keep_alive)
        };
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            (Framing::Length(5), true)
        );
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            (Framing::Chunked, true)
        );
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n"),
            (Framing::Chunked, false)
        );
        assert_eq!(
            framing("HTTP/1.0 200 OK\r\n\r\n"),
            (Framing::UntilClose, false)
        );
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 1\r\n\r\n"),
            (Framing::Length(1), false)
        );
        assert_eq!(
            framing("HTTP/1.1 204 No Content\r\n\r\n"),
            (Framing::Length(0), true)
        );
    }

    #[test]
    fn interim_heads_are_skipped_and_partial_ones_wait() {
        let head = parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 X\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!(head.status, 429);
        assert_eq!(head.retry_after, Some(Duration::from_secs(7)));
        assert!(parse("HTTP/1.1 200 OK\r\ncontent-le").unwrap().is_none());
    }

    #[test]
    fn unclear_and_foreign_heads_are_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let flood = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD));
        assert_eq!(parse(&flood).unwrap_err(), HeadError::TooLarge);
    }
}
