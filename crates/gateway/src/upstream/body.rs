//! The body of a node's answer. Reading it to the end gives the connection back; dropping it earlier closes it,
//! which is how a node learns that nobody listens any more.

use std::sync::Weak;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;
use primitives::NodeId;

use super::Pool;
use super::pool::Sender;

/// A node's answer as it arrives.
pub(crate) struct UpstreamBody {
    incoming: Incoming,
    node: NodeId,
    sender: Option<Sender>,
    pool: Weak<Pool>,
}

/// Why an answer could not be read as a whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    /// The connection broke.
    #[error("the answer broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// The answer is larger than the limit.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, node: NodeId, sender: Sender, pool: Weak<Pool>) -> Self {
        let mut body = Self {
            incoming,
            node,
            sender: Some(sender),
            pool,
        };
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    }

    /// Returns the next piece, or `None` at the proper end.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        loop {
            match std::pin::Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    self.give_back();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        if self.incoming.is_end_stream() {
                            self.give_back();
                        }
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    /// Reads the whole answer, at most `limit` bytes.
    pub(crate) async fn collect(mut self, limit: usize) -> Result<Bytes, CollectError> {
        let Some(first) = std::future::poll_fn(|cx| self.poll_data(cx)).await else {
            return Ok(Bytes::new());
        };
        let first = first?;
        let mut whole: Option<BytesMut> = None;
        while let Some(data) = std::future::poll_fn(|cx| self.poll_data(cx)).await {
            let data = data?;
            let whole = whole.get_or_insert_with(|| BytesMut::from(first.as_ref()));
            if whole.len() + data.len() > limit {
                return Err(CollectError::TooLarge(limit));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.map_or(first, BytesMut::freeze))
    }

    fn give_back(&mut self) {
        if let (Some(sender), Some(pool)) = (self.sender.take(), self.pool.upgrade()) {
            pool.checkin(self.node, sender);
        }
    }
}
