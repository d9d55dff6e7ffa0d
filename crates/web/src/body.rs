//! Reading a whole body, but never more than a stated number of bytes.

use std::error::Error;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use primitives::{Classify, ErrorKind};

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBodyError {
    /// The body is larger than the limit, in bytes.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes that are read.
        limit: usize,
    },
    /// The connection broke, or the other side sent a malformed body.
    #[error("the body ended early")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

impl Classify for ReadBodyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Broken(_) => ErrorKind::Invalid,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::TooLarge { limit } => {
                format!("the body is larger than the limit of {limit} bytes")
            }
            Self::Broken(_) => "the body ended before it was complete: send it again".to_owned(),
        }
    }
}

/// Reads `body` to its end. Stops at the first frame that passes `limit` bytes, and at once when the announced size does.
pub async fn read_capped<B>(body: B, limit: usize) -> Result<Bytes, ReadBodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(ReadBodyError::TooLarge { limit });
    }
    let mut body = pin!(body);
    // Most bodies are one frame, which is passed on without a copy.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ReadBodyError::Broken(error.into()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > limit {
            return Err(ReadBodyError::TooLarge { limit });
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Channel, Full};

    #[tokio::test]
    async fn a_body_at_the_limit_passes_and_one_byte_more_does_not() {
        let body = || Full::new(Bytes::from_static(b"12345"));
        assert_eq!(read_capped(body(), 5).await.unwrap(), "12345");
        assert!(matches!(
            read_capped(body(), 4).await,
            Err(ReadBodyError::TooLarge { limit: 4 })
        ));
    }

    #[tokio::test]
    async fn a_body_of_unknown_size_is_joined_and_stopped_at_the_limit() {
        let send = |parts: &'static [&'static str]| {
            let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(8);
            for part in parts {
                sender
                    .try_send(http_body::Frame::data(Bytes::from_static(part.as_bytes())))
                    .unwrap();
            }
            body
        };
        assert_eq!(
            read_capped(send(&["ab", "cd", "e"]), 5).await.unwrap(),
            "abcde"
        );
        assert!(matches!(
            read_capped(send(&["ab", "cd", "ef"]), 5).await,
            Err(ReadBodyError::TooLarge { .. })
        ));
    }
}
