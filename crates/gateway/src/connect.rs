//! One client connection: HTTP/1.1 with limits against slow and oversized heads.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::body::{BrokenBody, ReplyBody};
use crate::front;
use crate::shared::{Shared, Worker};

/// Time that a half-sent head gets when the server stops.
const HEAD_GRACE: Duration = Duration::from_secs(1);
/// Largest head of a request in bytes; more is answered with 431, and so are more than 100 header lines, hyper's own limit.
const MAX_HEAD: usize = 64 << 10;

/// Counts an open connection until dropped.
pub(crate) struct ConnectionGuard {
    shared: Arc<Shared>,
    /// The connections of the worker that serves it.
    of_worker: Option<Arc<AtomicUsize>>,
}

impl ConnectionGuard {
    /// Counts a connection in, or returns `None` at the limit.
    pub(crate) fn acquire(shared: &Arc<Shared>) -> Option<Self> {
        let before = shared.connections.fetch_add(1, Ordering::Relaxed);
        if before >= shared.config.max_connections {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            shared.metrics.connections_refused.inc();
            return None;
        }
        shared.metrics.connections.inc();
        Some(Self {
            shared: shared.clone(),
            of_worker: None,
        })
    }

    /// Counts the connection as one of a worker's, too.
    pub(crate) fn assign(&mut self, open: &Arc<AtomicUsize>) {
        open.fetch_add(1, Ordering::Relaxed);
        self.of_worker = Some(open.clone());
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if let Some(open) = &self.of_worker {
            open.fetch_sub(1, Ordering::Relaxed);
        }
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.shared.metrics.connections.dec();
    }
}

/// The exchanges of one connection that are not over: from the head of the request to the last byte of the answer.
#[derive(Clone, Default)]
struct OpenExchanges(Arc<AtomicUsize>);

/// Counts one until dropped.
struct OpenExchange(OpenExchanges);

impl OpenExchanges {
    fn enter(&self) -> OpenExchange {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenExchange(self.clone())
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body that keeps its exchange open until it is sent or dropped.
struct OpenBody {
    body: ReplyBody,
    _open: OpenExchange,
}

impl Body for OpenBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves one connection until the client closes it, it breaks a limit, or `drain` asks for its end after the
/// request under way.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    drain: CancellationToken,
    guard: ConnectionGuard,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(worker.shared.config.header_timeout)
        .max_buf_size(MAX_HEAD);
    let open = OpenExchanges::default();
    let service = service_fn(|request| {
        let (worker, open) = (worker.clone(), open.enter());
        // On the heap, so that an idle connection does not hold the room of a request.
        Box::pin(async move {
            let response = front::answer(&worker, peer, request).await;
            Ok::<_, Infallible>(response.map(|body| OpenBody { body, _open: open }))
        })
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let drained = drain.cancelled();
    tokio::pin!(drained);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = drained => None,
    };
    let ended = match ended {
        Some(ended) => Some(ended),
        None => {
            connection.as_mut().graceful_shutdown();
            finish(connection, &open).await
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, %peer, "client connection ended");
    }
    drop(guard);
}

/// Lets the exchanges under way end. A connection that has none after a moment has sent half a head and no more, and is closed.
async fn finish<C: Future>(mut connection: Pin<&mut C>, open: &OpenExchanges) -> Option<C::Output> {
    loop {
        tokio::select! {
            ended = connection.as_mut() => return Some(ended),
            () = tokio::time::sleep(HEAD_GRACE) => {
                if open.is_empty() {
                    return None;
                }
            }
        }
    }
}
