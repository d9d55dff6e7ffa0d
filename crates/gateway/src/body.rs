//! The body of every answer that the gateway sends.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::relay::Relay;
use crate::sharing::SharedBody;

/// An answer's body: whole, relayed from a node, or made by the control plane.
pub(crate) enum ReplyBody {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// A stream from a node.
    Relay(Box<Relay>),
    /// A stream that identical requests share.
    Shared(Box<SharedBody>),
    /// Whatever the control plane or a model command answers.
    Boxed(axum::body::Body),
}

impl ReplyBody {
    /// Makes a body of these bytes.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }

    /// Makes a body without content.
    pub(crate) const fn empty() -> Self {
        Self::Whole(None)
    }
}

/// A body broke off; the connection must be closed so that the client notices.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(crate) struct BrokenBody;

impl From<Infallible> for BrokenBody {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(
                bytes
                    .take()
                    .filter(|b| !b.is_empty())
                    .map(|b| Ok(Frame::data(b))),
            ),
            Self::Relay(relay) => relay.poll_frame(cx),
            Self::Shared(shared) => shared.poll_frame(cx),
            Self::Boxed(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|f| f.map_err(|_| BrokenBody))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Relay(_) | Self::Shared(_) => false,
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Relay(_) | Self::Shared(_) => SizeHint::default(),
            Self::Boxed(body) => body.size_hint(),
        }
    }
}
