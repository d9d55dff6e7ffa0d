//! HTTP/2 over a connection that exists already: asking over it, and answering.
//!
//! The connections are ours and not made by a library that dials, because the side that asks is not the side that dialled.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tower::Service;

/// The most tunnels that an agent carries at the same time.
pub const MOST_TUNNELS: u32 = 1024;
/// Streams beside the tunnels: status, commands, and room for the agent to refuse a tunnel too many itself.
const OTHER_STREAMS: u32 = 64;
/// What one stream may have under way: enough for 2.5 MB/s over 50 ms.
const STREAM_WINDOW: u32 = 128 << 10;
/// What all streams may have under way. Readers that stand still must not stop the others, so all of them fit.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * (MOST_TUNNELS + OTHER_STREAMS);
/// A peer that is gone is noticed within the sum of these two, on either side.
const PING_EVERY: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The asking side of a connection. Clones share it.
#[derive(Clone, Debug)]
pub struct Channel {
    send: SendRequest<Body>,
}

/// Begins to ask over `io`. The second part is the connection: it ends when the peer is gone or every channel was dropped, and
/// dropping it ends everything that runs over it at once.
///
/// # Errors
/// When the connection breaks at once.
pub async fn connect<I>(
    io: I,
) -> Result<(Channel, impl Future<Output = Result<(), hyper::Error>>), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let cut = CancellationToken::new();
    let (send, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(Cuttable {
            io,
            cut: Box::pin(cut.clone().cancelled_owned()),
        }))
        .await?;
    let guard = cut.drop_guard();
    let connection = async move {
        let _guard = guard;
        connection.await
    };
    Ok((Channel { send }, connection))
}

/// A socket that is closed when its owner says so: the library reads it from a task of its own, as long as anybody still has a
/// stream of the connection.
struct Cuttable<I> {
    io: I,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Cuttable<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Cuttable<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.send.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // HTTP/2 wants an authority; on a connection with one peer it says nothing.
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(Authority::from_static(crate::CONTROL_PLANE));
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        Box::pin(self.send.send_request(request))
    }
}

/// Answers over `io` until the peer is gone.
///
/// # Errors
/// When the connection breaks, or the peer no longer answers.
pub async fn serve<I, S>(io: I, service: S) -> Result<(), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let mut service = service.clone();
        async move {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request.map(Body::new)).await
        }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MOST_TUNNELS + OTHER_STREAMS)
        .max_send_buf_size(STREAM_WINDOW as usize)
        // Clients that leave all at once, before their tunnels were looked at, are no attack.
        .max_pending_accept_reset_streams(MOST_TUNNELS as usize)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(io), answer)
        .await
}

/// Returns the last cause of an error, which is what says something.
pub fn deepest(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
