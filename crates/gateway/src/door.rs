//! Requests that are turned away at the door: those that a worker would answer directly, while there are too many of them.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Response;
use web::Doorkeeper;

use crate::front::DirectWorker;
use crate::shared::Worker;

/// The most header lines of a request that is turned away; one with more is let in.
const HEADERS: usize = 32;

/// What a request is not to have so that its end is plain, and no more is asked of the answer than that it is one.
const SPECIAL: [&str; 5] = [
    "transfer-encoding",
    "connection",
    "expect",
    "upgrade",
    web::IDEMPOTENCY_KEY,
];

/// Writes the answer to requests that are turned away, head and body.
pub(crate) fn refusal(direct: &dyn DirectWorker) -> Bytes {
    let mut response = direct.turned_away();
    web::harden(response.headers_mut(), None);
    write(&response)
}

fn write(response: &Response<Bytes>) -> Bytes {
    let mut text = BytesMut::with_capacity(1024);
    let status = response.status();
    text.put_slice(b"HTTP/1.1 ");
    text.put_slice(status.as_str().as_bytes());
    text.put_u8(b' ');
    text.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    for (name, value) in response.headers() {
        text.put_slice(b"\r\n");
        text.put_slice(name.as_str().as_bytes());
        text.put_slice(b": ");
        text.put_slice(value.as_bytes());
    }
    text.put_slice(b"\r\ncontent-length: ");
    text.put_slice(response.body().len().to_string().as_bytes());
    text.put_slice(b"\r\n\r\n");
    text.put_slice(response.body());
    text.freeze()
}

impl Doorkeeper for Worker {
    fn turn_away(&self, came: &[u8]) -> Option<Bytes> {
        let (direct, refusal) = (self.direct.as_deref()?, self.refusal.as_ref()?);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let (method, path) = whole_request(came, &mut headers)?;
        direct.turns_away(method, path).then(|| refusal.clone())
    }
}

/// Takes the head of a request apart, if all of one request came and nothing else.
fn whole_request<'b>(
    came: &'b [u8],
    headers: &mut [httparse::Header<'b>],
) -> Option<(&'b str, &'b str)> {
    let mut request = httparse::Request::new(headers);
    let Ok(httparse::Status::Complete(head)) = request.parse(came) else {
        return None;
    };
    if request.version != Some(1) {
        return None;
    }
    let mut length = None;
    for header in &*request.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            let said: usize = std::str::from_utf8(header.value).ok()?.parse().ok()?;
            if length.replace(said).is_some() {
                return None;
            }
        }
        if SPECIAL
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name))
        {
            return None;
        }
    }
    let whole = came.len() == head.checked_add(length.unwrap_or(0))?;
    whole.then_some((request.method?, request.path?))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::RETRY_AFTER;

    use super::*;

    fn asked(text: &str) -> Option<(String, String)> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let (method, path) = whole_request(text.as_bytes(), &mut headers)?;
        Some((method.to_owned(), path.to_owned()))
    }

    #[test]
    fn only_one_whole_plain_request_is_turned_away() {
        let head = "POST /rpc/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n";
        let call = ("POST".to_owned(), "/rpc/x".to_owned());
        assert_eq!(asked(&format!("{head}\r\n{{}}")), Some(call));
        let get = ("GET".to_owned(), "/a?b".to_owned());
        assert_eq!(asked("GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"), Some(get));
        for text in [
            String::new(),
            head.to_owned(),
            format!("{head}\r\n"),
            format!("{head}\r\n{{"),
            format!("{head}\r\n{{}}GET / HTTP/1.1\r\n\r\n"),
            format!("{head}Content-Length: 2\r\n\r\n{{}}"),
            format!("{head}Connection: close\r\n\r\n{{}}"),
            format!("{head}expect: 100-continue\r\n\r\n{{}}"),
            format!("{head}Idempotency-Key: 7\r\n\r\n{{}}"),
            "POST /rpc/x HTTP/1.1\r\nContent-Length: -2\r\n\r\n{}".to_owned(),
            "POST /rpc/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "POST /rpc/x HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
            "\u{16}\u{3}\u{1}".to_owned(),
        ] {
            assert_eq!(asked(&text), None, "{text:?}");
        }
    }

    #[test]
    fn an_answer_is_written_with_its_length() {
        let mut response = Response::new(Bytes::from_static(b"{}"));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, 1.into());
        assert_eq!(
            write(&response),
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\n{}"
        );
    }
}
