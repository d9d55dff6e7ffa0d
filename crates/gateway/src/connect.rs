//! One client connection: HTTP/1.1 with limits against slow and oversized heads.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use web::{Doorway, Visit};

use crate::body::ReplyBody;
use crate::front::{self, LingeringBody};
use crate::shared::{Shared, Worker};

/// Time that a half-sent head gets when the server stops.
const HEAD_GRACE: Duration = Duration::from_secs(1);
/// Largest head of a request in bytes; more is answered with 431, and so are more than 100 header lines, hyper's own limit.
const MAX_HEAD: usize = 64 << 10;

/// What a connection's bytes go over. Each has a connection's code of its own, so that plain ones do not carry the room of others.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether nobody on the way can read or change them.
    const SECURE: bool;
}

impl Transport for TcpStream {
    const SECURE: bool = false;
}

impl Transport for Box<TlsStream<TcpStream>> {
    const SECURE: bool = true;
}

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
        if before >= shared.config().max_connections {
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

/// Serves one connection until the client closes it, it breaks a limit, or `drain` asks for its end after the
/// request under way.
///
/// There are many of these at once: not an `async fn`, which would hold what it is given twice over, and what the connection is made
/// with as well.
pub(crate) fn serve<T: Transport>(
    worker: Arc<Worker>,
    stream: T,
    peer: SocketAddr,
    drain: CancellationToken,
    guard: ConnectionGuard,
) -> impl Future<Output = ()> + Send {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(worker.shared.config().header_timeout)
        .max_buf_size(MAX_HEAD);
    let mut stream = Doorway::open(stream);
    // By TLS an answer is ciphers and more than one step.
    if !T::SECURE && worker.direct.is_some() {
        let patience = worker.shared.config().header_timeout / 2;
        stream = stream.with_keeper(worker.clone(), patience);
    }
    let visit = stream.visit();
    let visits = visit.clone();
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        visits.asked();
        if request.headers().contains_key(header::UPGRADE) {
            visits.may_hand_over();
        }
        if T::SECURE {
            request.extensions_mut().insert(web::SecureTransport);
        }
        let (worker, visit) = (worker.clone(), visits.clone());
        // On the heap, so that an idle connection does not hold the room of a request.
        Box::pin(async move {
            let answer = front::answer(&worker, peer, LingeringBody::of(request)).await;
            if matches!(answer.body(), ReplyBody::Whole(_)) {
                visit.answered();
            }
            Ok::<_, Infallible>(answer)
        })
    });
    // What the control plane makes a WebSocket of leaves this thread, and this connection is over.
    let mut connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let client = peer.ip();
    async move {
        // Used where it is: moved, it would be held twice.
        let mut connection = Pin::new(&mut connection);
        // In a block of its own: what waits here has ended before the rest begins, and takes the same room in the task.
        let ended = {
            let drained = drain.cancelled();
            tokio::pin!(drained);
            tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = drained => None,
            }
        };
        let ended = if ended.is_some() {
            ended
        } else {
            connection.as_mut().graceful_shutdown();
            Box::pin(finish(connection, &visit)).await
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%error, %client, "client connection ended");
        }
        drop(guard);
    }
}

/// Lets what is under way end. A connection on which nothing was ever asked has sent half a head at most, and is closed after a
/// moment; any other one may still be sending an answer.
async fn finish<C: Future>(mut connection: Pin<&mut C>, visit: &Visit) -> Option<C::Output> {
    tokio::select! {
        ended = connection.as_mut() => return Some(ended),
        () = tokio::time::sleep(HEAD_GRACE) => {}
    }
    if visit.was_asked() {
        Some(connection.await)
    } else {
        None
    }
}
