//! One connection to a node: sends a request, reads the head of the answer.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use cluster::TunnelStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::io::poll_read_buf;
use web::Turn;

use super::head::{HeadError, ResponseHead, take_head};

/// Bytes asked for in one read; grows to [`LARGE_READ`] for bodies that come faster than they are read.
const SMALL_READ: usize = 4 << 10;
/// Most bytes asked for in one read.
const LARGE_READ: usize = 64 << 10;

/// A socket, with or without TLS, or a connection that an agent carries.
pub(in crate::upstream) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Tunnel(Box<TunnelStream>),
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The connection had been closed before the node began to answer, as servers do with idle ones.
    #[error("the connection was closed before the answer: {0}")]
    Closed(#[source] io::Error),
    /// The connection broke within the head, or the head makes no sense.
    #[error("the answer broke off in its head: {0}")]
    Broken(#[source] io::Error),
}

/// A connection with what has arrived and was not used yet.
pub(in crate::upstream) struct Connection {
    io: Io,
    pub(in crate::upstream) buffer: BytesMut,
    read_size: usize,
    /// How much of the request under way is sent.
    sent: usize,
}

impl Connection {
    pub(in crate::upstream) fn new(io: Io) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            read_size: SMALL_READ,
            sent: 0,
        }
    }

    /// Tells whether an idle connection can still be used: a node that has closed it, or sent something unasked, cannot
    /// be asked over it.
    pub(in crate::upstream) fn is_usable(&mut self) -> bool {
        let socket = match &mut self.io {
            Io::Plain(socket) => socket,
            Io::Tls(stream) => stream.get_mut().0,
            Io::Tunnel(stream) => return self.buffer.is_empty() && stream.is_quiet(),
        };
        let mut probe = [0];
        self.buffer.is_empty()
            && matches!(socket.try_read(&mut probe), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Tells whether the socket has something to read. If not, the task is woken when it has. Of tunnels it is not told.
    pub(in crate::upstream) fn is_readable(&self, cx: &mut Context<'_>) -> bool {
        let socket = match &self.io {
            Io::Plain(socket) => socket,
            Io::Tls(stream) => stream.get_ref().0,
            Io::Tunnel(_) => return false,
        };
        socket.poll_read_ready(cx).is_ready()
    }

    /// Sends a request and reads the head of the answer.
    ///
    /// A node may answer before it has read all of a large body; then the rest is not sent and the connection not used
    /// again.
    pub(in crate::upstream) async fn exchange(
        &mut self,
        head: &[u8],
        body: &[u8],
    ) -> Result<ResponseHead, ExchangeError> {
        let mut turn = Turn::default();
        poll_fn(|cx| turn.poll(cx)).await;
        let sent = poll_fn(|cx| self.poll_send(cx, head, body)).await;
        let complete = match sent {
            Ok(complete) => complete,
            // The answer may lie there although the node did not read on.
            Err(error) => {
                return match poll_fn(|cx| self.poll_head(cx)).await {
                    Ok(mut head) => {
                        head.keep_alive = false;
                        Ok(head)
                    }
                    Err(_) => Err(ExchangeError::Closed(error)),
                };
            }
        };
        let mut head = poll_fn(|cx| self.poll_head(cx)).await?;
        head.keep_alive &= complete;
        Ok(head)
    }

    /// Sends head and body. `false`: the node began to answer before all was sent.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        head: &[u8],
        body: &[u8],
    ) -> Poll<io::Result<bool>> {
        loop {
            let total = head.len() + body.len();
            if self.sent >= total {
                self.sent = 0;
                ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                return Poll::Ready(Ok(true));
            }
            let written = if self.sent < head.len() {
                let parts = [IoSlice::new(&head[self.sent..]), IoSlice::new(body)];
                Pin::new(&mut self.io).poll_write_vectored(cx, &parts)
            } else {
                Pin::new(&mut self.io).poll_write(cx, &body[self.sent - head.len()..])
            };
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.sent += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    let early = ready!(self.poll_fill(cx))?;
                    if early == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    self.sent = 0;
                    return Poll::Ready(Ok(false));
                }
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, ExchangeError>> {
        loop {
            match take_head(&mut self.buffer) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(ExchangeError::Broken(invalid(error)))),
            }
            let nothing_yet = self.buffer.is_empty();
            let failed = match ready!(self.poll_fill(cx)) {
                Ok(0) => io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => continue,
                Err(error) => error,
            };
            return Poll::Ready(Err(if nothing_yet {
                ExchangeError::Closed(failed)
            } else {
                ExchangeError::Broken(failed)
            }));
        }
    }

    /// Reads what has arrived into the buffer. 0: the node has closed the connection.
    ///
    /// While nothing is there an empty buffer takes no memory: a plain socket is asked for readiness first.
    pub(in crate::upstream) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            if let Io::Plain(socket) = &self.io {
                ready!(socket.poll_read_ready(cx))?;
            }
        }
        self.buffer.reserve(self.read_size);
        let read = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.buffer))?;
        if read >= self.read_size {
            self.read_size = (self.read_size * 2).min(LARGE_READ);
        }
        Poll::Ready(Ok(read))
    }
}

fn invalid(error: HeadError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tunnel(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
