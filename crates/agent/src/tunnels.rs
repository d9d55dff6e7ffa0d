//! The agent's end of tunnels: each is one connection to the model server.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agent_proto::MOST_TUNNELS;
use agent_proto::v1::Piece;
use bytes::BytesMut;
use futures_util::stream::{Stream, StreamExt as _, unfold};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming};

use crate::model_server::{ModelServer, Socket};

/// What one read asks for.
const READ: usize = 32 << 10;

/// The bytes that a tunnel brings back.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Result<Piece, Status>> + Send>>;

/// Counts the tunnels that are open.
#[derive(Debug, Default)]
pub(crate) struct Tunnels {
    open: AtomicU32,
}

impl Tunnels {
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    fn take(self: &Arc<Self>) -> Result<Seat, Status> {
        let taken = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < MOST_TUNNELS).then_some(open + 1)
            });
        match taken {
            Ok(_) => Ok(Seat(Arc::clone(self))),
            Err(_) => Err(Status::resource_exhausted(format!(
                "the agent carries {MOST_TUNNELS} connections already"
            ))),
        }
    }
}

/// One tunnel's place; free again when dropped.
struct Seat(Arc<Tunnels>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects to the model server and carries bytes both ways until either side ends.
pub(crate) async fn open(
    tunnels: &Arc<Tunnels>,
    server: &ModelServer,
    incoming: Streaming<Piece>,
) -> Result<Pieces, Status> {
    let seat = tunnels.take()?;
    match server.connect().await.map_err(Status::unavailable)? {
        Socket::Beside(socket) => {
            let (read, write) = socket.into_split();
            Ok(carry(read, write, incoming, seat))
        }
        Socket::Inside(socket) => {
            let (read, write) = tokio::io::split(socket);
            Ok(carry(read, write, incoming, seat))
        }
    }
}

fn carry<R, W>(read: R, write: W, incoming: Streaming<Piece>, seat: Seat) -> Pieces
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let ended = CancellationToken::new();
    let back = Back {
        read,
        buffer: BytesMut::new(),
        ended: ended.clone(),
        _close: ended.clone().drop_guard(),
        _seat: seat,
    };
    tokio::spawn(async move {
        ended.run_until_cancelled(forward(incoming, write)).await;
        // The control plane has closed its end, or the server takes no more: both directions end.
        ended.cancel();
    });
    Box::pin(unfold(back, Back::next))
}

async fn forward<W: AsyncWrite + Unpin>(mut incoming: Streaming<Piece>, mut write: W) {
    while let Some(Ok(piece)) = incoming.next().await {
        if write.write_all(&piece.data).await.is_err() {
            // What the server answered before it stopped reading is still to be brought back.
            std::future::pending::<()>().await;
        }
    }
}

/// The direction from the server to the control plane.
struct Back<R> {
    read: R,
    buffer: BytesMut,
    ended: CancellationToken,
    _close: DropGuard,
    _seat: Seat,
}

impl<R: AsyncRead + Unpin> Back<R> {
    async fn next(mut self) -> Option<(Result<Piece, Status>, Self)> {
        self.buffer.reserve(READ);
        let read = tokio::select! {
            read = self.read.read_buf(&mut self.buffer) => read,
            () = self.ended.cancelled() => return None,
        };
        match read {
            Ok(0) => None,
            Ok(_) => {
                let data = self.buffer.split().freeze();
                Some((Ok(Piece { data }), self))
            }
            Err(error) => Some((Err(Status::aborted(error.to_string())), self)),
        }
    }
}
