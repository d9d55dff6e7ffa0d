//! HTTP/2 over a connection that exists already: asking over it, and answering.
//!
//! The connections are ours and not made by a library that dials, because the side that asks is not the side that dialled.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
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

/// Begins to ask over `io`. The second part is the connection: nothing moves unless it is polled, and it ends when the peer is
/// gone or every channel was dropped.
///
/// # Errors
/// When the connection breaks at once.
pub async fn connect<I>(
    io: I,
) -> Result<(Channel, impl Future<Output = Result<(), hyper::Error>>), hyper::Error>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(io))
        .await?;
    Ok((Channel { send }, connection))
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
