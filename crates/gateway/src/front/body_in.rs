//! Reads request bodies: bounded in size, and in the time that a client may take.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialects::ApiError;
use http_body::Body;
use http_body_util::BodyExt as _;
use primitives::ErrorKind;

/// A whole body may take this many of the longest pauses.
const PAUSES: u32 = 10;

/// Reads a whole body of at most `limit` bytes, with pauses of at most `pause`, in at most ten times that.
pub(crate) async fn read_body<B>(
    mut body: B,
    limit: usize,
    pause: Duration,
) -> Result<Bytes, ApiError>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let mut first: Option<Bytes> = None;
    let mut whole: Option<BytesMut> = None;
    let end = tokio::time::Instant::now() + pause * PAUSES;
    loop {
        let next = end.min(tokio::time::Instant::now() + pause);
        let frame = tokio::time::timeout_at(next, body.frame())
            .await
            .map_err(|_| {
                ApiError::new(
                    ErrorKind::Timeout,
                    format!(
                        "the request's body paused for more than {} s or was far too slow: send it again",
                        pause.as_secs()
                    ),
                )
            })?;
        let Some(frame) = frame else {
            break;
        };
        let frame =
            frame.map_err(|_| ApiError::new(ErrorKind::Invalid, "the request's body broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        match (&mut whole, first.take()) {
            (None, None) => {
                if data.len() > limit {
                    return Err(too_large(limit));
                }
                first = Some(data);
            }
            (None, Some(before)) => {
                let hint = usize::try_from(body.size_hint().lower())
                    .unwrap_or(0)
                    .min(limit);
                let mut joined = BytesMut::with_capacity(before.len() + data.len() + hint);
                joined.extend_from_slice(&before);
                joined.extend_from_slice(&data);
                whole = Some(joined);
            }
            (Some(whole), _) => whole.extend_from_slice(&data),
        }
        if whole.as_ref().is_some_and(|w| w.len() > limit) {
            return Err(too_large(limit));
        }
    }
    Ok(whole.map(BytesMut::freeze).or(first).unwrap_or_default())
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        ErrorKind::TooLarge,
        format!(
            "the request's body is larger than {limit} bytes: send less, or raise server.body_limit"
        ),
    )
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn pieces(
        pieces: &[&'static str],
    ) -> impl Body<Data = Bytes, Error = std::convert::Infallible> + Unpin {
        let frames: Vec<_> = pieces
            .iter()
            .map(|p| Ok(http_body::Frame::data(Bytes::from_static(p.as_bytes()))))
            .collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    const PAUSE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn pieces_are_joined() {
        assert_eq!(
            read_body(pieces(&["ab", "c", "de"]), 5, PAUSE)
                .await
                .unwrap(),
            "abcde"
        );
        assert_eq!(read_body(pieces(&[]), 5, PAUSE).await.unwrap(), "");
    }

    #[tokio::test]
    async fn the_limit_holds_with_and_without_a_length() {
        let error = read_body(Full::new(Bytes::from_static(b"abcdef")), 5, PAUSE)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
        for body in [
            &["abc", "def"][..],
            &["abcdef"],
            &["a", "b", "c", "d", "e", "f"],
        ] {
            let error = read_body(pieces(body), 5, PAUSE).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::TooLarge);
        }
    }
}
