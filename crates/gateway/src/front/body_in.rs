//! Reads request bodies: bounded in size, in the time that a client may take, and in the memory of all of them together.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialects::ApiError;
use http::{Request, header};
use http_body::Body;
use http_body_util::BodyExt as _;
use primitives::ErrorKind;

use crate::body_memory::{BodyMemory, BodyShare, RequestBody};

/// A whole body may take this many of the longest pauses.
const PAUSES: u32 = 10;
/// A body that came in one piece lies in the connection's read buffer. Up to this size it is copied out, so that the buffer can
/// be used again while the request is under way, and the request holds no more than it has sent.
const COPIED: usize = 64 << 10;

/// What bounds the bodies of requests.
pub(crate) struct BodyRules {
    /// Largest body in bytes.
    pub(crate) limit: usize,
    /// Longest pause between two pieces.
    pub(crate) pause: Duration,
    /// The room for all bodies.
    pub(crate) memory: Arc<BodyMemory>,
}

/// Reads the whole body of a request.
pub(crate) async fn read_body<B>(
    request: Request<B>,
    rules: &BodyRules,
) -> Result<RequestBody, ApiError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let coding = request.headers().get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(ApiError::new(
            ErrorKind::UnsupportedMedia,
            "compressed bodies are not read: send the request without Content-Encoding",
        ));
    }
    let body = request.into_body();
    if body.size_hint().lower() > rules.limit as u64 {
        return Err(too_large(rules.limit));
    }
    read(body, rules).await
}

async fn read<B>(mut body: B, rules: &BodyRules) -> Result<RequestBody, ApiError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut share = BodyShare::new(&rules.memory);
    let mut first: Option<Bytes> = None;
    let mut whole: Option<BytesMut> = None;
    let end = tokio::time::Instant::now() + rules.pause * PAUSES;
    loop {
        let next = end.min(tokio::time::Instant::now() + rules.pause);
        let frame = tokio::time::timeout_at(next, body.frame())
            .await
            .map_err(|_| too_slow(rules.pause))?;
        let Some(frame) = frame else {
            break;
        };
        let frame =
            frame.map_err(|_| ApiError::new(ErrorKind::Invalid, "the request's body broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let before = whole.as_ref().map_or(0, BytesMut::len) + first.as_ref().map_or(0, Bytes::len);
        if before + data.len() > rules.limit {
            return Err(too_large(rules.limit));
        }
        if !share.grow(data.len()) {
            return Err(no_room(&rules.memory));
        }
        match (&mut whole, first.take()) {
            (None, None) => first = Some(data),
            (None, Some(before)) => {
                let hint = usize::try_from(body.size_hint().lower())
                    .unwrap_or(0)
                    .min(rules.limit);
                let mut joined = BytesMut::with_capacity(before.len() + data.len() + hint);
                joined.extend_from_slice(&before);
                joined.extend_from_slice(&data);
                whole = Some(joined);
            }
            (Some(whole), _) => whole.extend_from_slice(&data),
        }
    }
    let bytes = match (whole, first) {
        (Some(whole), _) => whole.freeze(),
        (None, Some(piece)) if piece.len() <= COPIED => Bytes::copy_from_slice(&piece),
        (None, piece) => piece.unwrap_or_default(),
    };
    Ok(RequestBody::new(bytes, share))
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        ErrorKind::TooLarge,
        format!(
            "the request's body is larger than {limit} bytes: send less, or raise server.body_limit"
        ),
    )
}

fn too_slow(pause: Duration) -> ApiError {
    ApiError::new(
        ErrorKind::Timeout,
        format!(
            "the request's body paused for more than {} s or was far too slow: send it again",
            pause.as_secs()
        ),
    )
}

fn no_room(memory: &BodyMemory) -> ApiError {
    ApiError::new(
        ErrorKind::Unavailable,
        format!(
            "the bodies of requests under way hold {} MiB, which is the limit (server.body_memory): try again soon",
            memory.limit() >> 20
        ),
    )
    .with_retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    fn pieces(
        pieces: &[&'static str],
    ) -> Request<impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin> {
        let frames: Vec<_> = pieces
            .iter()
            .map(|p| Ok(http_body::Frame::data(Bytes::from_static(p.as_bytes()))))
            .collect();
        Request::new(StreamBody::new(futures_util::stream::iter(frames)))
    }

    fn rules(memory: usize) -> BodyRules {
        BodyRules {
            limit: 5,
            pause: Duration::from_secs(5),
            memory: BodyMemory::new(memory, Gauge::default()),
        }
    }

    #[tokio::test]
    async fn pieces_are_joined() {
        let rules = rules(100);
        let body = read_body(pieces(&["ab", "c", "de"]), &rules).await.unwrap();
        assert_eq!(**body, *b"abcde");
        assert!(read_body(pieces(&[]), &rules).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_limit_holds_with_and_without_a_length() {
        let rules = rules(100);
        let request = Request::new(Full::new(Bytes::from_static(b"abcdef")));
        let error = read_body(request, &rules).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
        for body in [
            &["abc", "def"][..],
            &["abcdef"],
            &["a", "b", "c", "d", "e", "f"],
        ] {
            let error = read_body(pieces(body), &rules).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::TooLarge);
        }
    }

    #[tokio::test]
    async fn all_bodies_together_have_a_bound() {
        let rules = rules(8);
        let held = read_body(pieces(&["abcde"]), &rules).await.unwrap();
        let error = read_body(pieces(&["ab", "cd"]), &rules).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.retry_after.is_some());
        drop(held);
        assert!(read_body(pieces(&["ab", "cd"]), &rules).await.is_ok());
    }
}
