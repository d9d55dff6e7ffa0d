//! The body of a node's answer. Reading it to the end gives the connection back; dropping it earlier closes it,
//! which is how a node learns that nobody listens any more.

use std::io;
use std::sync::Weak;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use primitives::NodeId;

use super::http1::{Connection, Decoder};
use super::{Pool, ResponseHead};

/// A node's answer as it arrives.
pub(crate) struct UpstreamBody {
    /// Gone once the body was read to its end.
    connection: Option<Connection>,
    decoder: Decoder,
    keep_alive: bool,
    node: NodeId,
    pool: Weak<Pool>,
}

/// Why an answer could not be read as a whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    /// The connection broke.
    #[error("the answer broke off: {0}")]
    Broken(#[from] io::Error),
    /// The answer is larger than the limit.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

impl UpstreamBody {
    pub(super) fn new(
        connection: Connection,
        head: &ResponseHead,
        node: NodeId,
        pool: Weak<Pool>,
    ) -> Self {
        let mut body = Self {
            connection: Some(connection),
            decoder: Decoder::new(head.framing),
            keep_alive: head.keep_alive,
            node,
            pool,
        };
        body.give_back_if_done();
        body
    }

    /// Tells whether the socket has something to read. If not, the task is woken when it has.
    pub(crate) fn is_readable(&self, cx: &mut Context<'_>) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.is_readable(cx))
    }

    /// Returns all that has arrived since the last call as one piece, or `None` at the proper end.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(None);
            };
            let piece = match self.decoder.decode(&mut connection.buffer) {
                Ok(piece) => piece,
                Err(malformed) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        malformed,
                    ))));
                }
            };
            if !piece.is_empty() {
                self.give_back_if_done();
                return Poll::Ready(Some(Ok(piece)));
            }
            if self.decoder.is_done() {
                self.give_back_if_done();
                return Poll::Ready(None);
            }
            match ready!(connection.poll_fill(cx)) {
                Ok(0) => {
                    self.connection = None;
                    return Poll::Ready(if self.decoder.ends_with_connection() {
                        None
                    } else {
                        Some(Err(io::ErrorKind::UnexpectedEof.into()))
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(error)));
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

    /// Gives the connection back at the end of the body; one that has more bytes than the body is not trusted again.
    fn give_back_if_done(&mut self) {
        if !self.decoder.is_done() {
            return;
        }
        if let (Some(connection), Some(pool), true) =
            (self.connection.take(), self.pool.upgrade(), self.keep_alive)
            && connection.buffer.is_empty()
        {
            pool.checkin(self.node, connection);
        }
    }
}
