//! The agent's end of tunnels: each is one connection to the model server.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use agent_proto::MOST_TUNNELS;
use agent_proto::v1::Piece;
use bytes::BytesMut;
use futures_util::stream::{Stream, StreamExt as _, unfold};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming};

use crate::model_server::{ModelServer, Socket};

/// What one read asks for.
const READ: usize = 32 << 10;

/// After so long without a byte, connections that wait for no answer count as unused.
const QUIET: Duration = Duration::from_secs(2);

/// The bytes that a tunnel brings back.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Result<Piece, Status>> + Send>>;

/// Counts the tunnels that are open, and what goes through them.
#[derive(Debug, Default)]
pub(crate) struct Tunnels {
    open: AtomicU32,
    /// Those in which something was asked that was not answered yet.
    unanswered: AtomicU32,
    /// Pieces that went through, either way.
    moved: AtomicU64,
    /// No further ones are opened.
    closed: AtomicBool,
}

impl Tunnels {
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Opens no further ones, and waits until those that are open carry nothing, `limit` at most. What an answer is nobody here can tell: a
    /// connection whose last bytes came from the server a while ago is between two of them, or its server makes a long pause. Streams that
    /// are cut then are continued as those of a lost link. Returns whether nothing was under way any more.
    pub(crate) async fn run_dry(&self, limit: Duration) -> bool {
        self.closed.store(true, Ordering::Relaxed);
        let dry = async {
            while self.open() > 0 {
                let before = self.moved.load(Ordering::Relaxed);
                sleep(QUIET).await;
                let is_quiet = self.moved.load(Ordering::Relaxed) == before;
                if is_quiet && self.unanswered.load(Ordering::Relaxed) == 0 {
                    return;
                }
            }
        };
        timeout(limit, dry).await.is_ok()
    }

    /// Tells whether something was asked that was not answered yet.
    #[cfg(test)]
    pub(crate) fn is_asked(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) > 0
    }

    fn take(self: &Arc<Self>) -> Result<Arc<Seat>, Status> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Status::unavailable(
                "the agent takes nothing new: another version of it starts in a moment",
            ));
        }
        let taken = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < MOST_TUNNELS).then_some(open + 1)
            });
        match taken {
            Ok(_) => Ok(Arc::new(Seat {
                tunnels: Arc::clone(self),
                asked: AtomicBool::new(false),
            })),
            Err(_) => Err(Status::resource_exhausted(format!(
                "the agent carries {MOST_TUNNELS} connections already"
            ))),
        }
    }
}

/// One tunnel's place; free again when both of its directions have ended.
struct Seat {
    tunnels: Arc<Tunnels>,
    /// The last bytes went to the server.
    asked: AtomicBool,
}

impl Seat {
    fn moved(&self, asked: bool) {
        let unanswered = &self.tunnels.unanswered;
        self.tunnels.moved.fetch_add(1, Ordering::Relaxed);
        match (self.asked.swap(asked, Ordering::Relaxed), asked) {
            (false, true) => unanswered.fetch_add(1, Ordering::Relaxed),
            (true, false) => unanswered.fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => 0,
        };
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.moved(false);
        self.tunnels.open.fetch_sub(1, Ordering::Relaxed);
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

fn carry<R, W>(read: R, write: W, incoming: Streaming<Piece>, seat: Arc<Seat>) -> Pieces
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
        seat: Arc::clone(&seat),
    };
    tokio::spawn(async move {
        let forward = forward(incoming, write, &seat);
        ended.run_until_cancelled(forward).await;
        // The control plane has closed its end, or the server takes no more: both directions end.
        ended.cancel();
    });
    Box::pin(unfold(back, Back::next))
}

async fn forward<W: AsyncWrite + Unpin>(mut incoming: Streaming<Piece>, mut write: W, seat: &Seat) {
    while let Some(Ok(piece)) = incoming.next().await {
        seat.moved(true);
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
    seat: Arc<Seat>,
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
                self.seat.moved(false);
                let data = self.buffer.split().freeze();
                Some((Ok(Piece { data }), self))
            }
            Err(error) => Some((Err(Status::aborted(error.to_string())), self)),
        }
    }
}
