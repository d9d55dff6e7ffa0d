//! The asking end of a tunnel, as a stream of bytes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::Stream as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use tonic::{Status, Streaming};

use crate::Channel;
use crate::channel::deepest;
use crate::v1::Piece;
use crate::v1::agent_client::AgentClient;

/// The most bytes in one piece.
const MOST_BYTES: usize = 64 << 10;
/// Pieces that wait to be sent: the rest of the back-pressure is HTTP/2's.
const WAITING: usize = 2;

/// A connection to the model server beside an agent. Dropping it closes that connection.
#[derive(Debug)]
pub struct TunnelStream {
    outgoing: PollSender<Piece>,
    incoming: Streaming<Piece>,
    /// What has arrived and was not read yet.
    arrived: Bytes,
}

impl TunnelStream {
    /// Opens a tunnel. Returns when the agent has reached its model server.
    ///
    /// # Errors
    /// With what the agent says, or because the link is gone.
    pub async fn open(channel: Channel) -> Result<Self, Status> {
        let (outgoing, mut pieces) = mpsc::channel(WAITING);
        let pieces = futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx));
        let incoming = AgentClient::new(channel).tunnel(pieces).await?.into_inner();
        Ok(Self {
            outgoing: PollSender::new(outgoing),
            incoming,
            arrived: Bytes::new(),
        })
    }

    /// Tells whether nothing has come unasked and the other end is still there.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.arrived.is_empty() && self.poll_piece(&mut cx).is_pending()
    }

    /// Waits until something has arrived. `Ok(false)`: the other end has closed.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.arrived.is_empty() {
            match ready!(Pin::new(&mut self.incoming).poll_next(cx)) {
                Some(Ok(piece)) => self.arrived = piece.data,
                Some(Err(status)) => return Poll::Ready(Err(broken(&status))),
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: impl FnOnce() -> Bytes,
    ) -> Poll<io::Result<usize>> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.outgoing.poll_reserve(cx)).map_err(gone)?;
        let data = data();
        let length = data.len();
        self.outgoing.send_item(Piece { data }).map_err(gone)?;
        Poll::Ready(Ok(length))
    }
}

fn broken(status: &Status) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, deepest(status))
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if ready!(this.poll_piece(cx))? {
            let length = this.arrived.len().min(buf.remaining());
            buf.put_slice(&this.arrived[..length]);
            this.arrived.advance(length);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, || {
            Bytes::copy_from_slice(&buf[..buf.len().min(MOST_BYTES)])
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, || {
            let mut data = BytesMut::new();
            for part in parts {
                let room = MOST_BYTES - data.len();
                data.extend_from_slice(&part[..part.len().min(room)]);
            }
            data.freeze()
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().outgoing.close();
        Poll::Ready(Ok(()))
    }
}
