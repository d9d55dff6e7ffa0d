//! A client connection by TLS: the handshake, within its time, and then as any other connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use web::tls::{HandshakeOutcome, ServerTls};

use crate::connect::{self, ConnectionGuard};
use crate::shared::Worker;

/// Time for a handshake, where heads of requests may take longer.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(10);
/// What a client hears that speaks HTTP without TLS.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 59\r\n\r\n{\"error\":\"this server speaks https: write https:// for it\"}";

/// Serves one connection as [`connect::serve`] does, after its handshake.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    drain: CancellationToken,
    guard: ConnectionGuard,
    tls: Arc<ServerTls>,
) {
    let limit = worker.shared.config().header_timeout.min(LONGEST_HANDSHAKE);
    // On the heap: a connection that is open does not hold the room of its handshake.
    let stream = tokio::select! {
        stream = Box::pin(shake_hands(&tls, stream, peer, limit)) => stream,
        () = drain.cancelled() => None,
    };
    drop(tls);
    if let Some(stream) = stream {
        connect::serve(worker, stream, peer, drain, guard).await;
    }
}

async fn shake_hands(
    tls: &ServerTls,
    stream: TcpStream,
    peer: SocketAddr,
    limit: Duration,
) -> Option<Box<TlsStream<TcpStream>>> {
    let handshake = tls.handshakes().begin()?;
    let (outcome, stream) = match timeout(limit, accept(tls, stream)).await {
        Ok(Ok(Some(stream))) => (HandshakeOutcome::Done, Some(Box::new(stream))),
        Ok(Ok(None)) => (HandshakeOutcome::Plain, None),
        Ok(Err(error)) => {
            tracing::debug!(%error, %peer, "a TLS handshake failed");
            (HandshakeOutcome::Failed, None)
        }
        Err(_) => (HandshakeOutcome::Timeout, None),
    };
    handshake.end(outcome);
    stream
}

/// Speaks TLS, or returns `None` for who does not and was told so: a method of HTTP is in capitals, and no TLS client begins with one
/// (RFC 8446, section 5.1).
async fn accept(
    tls: &ServerTls,
    mut stream: TcpStream,
) -> std::io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        // What has come is taken, so that closing does not throw the answer away on its way.
        let mut asked = [0; 4096];
        match stream.try_read(&mut asked) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        stream.write_all(PLAIN).await?;
        stream.shutdown().await?;
        return Ok(None);
    }
    TlsAcceptor::from(tls.config())
        .accept(stream)
        .await
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_without_tls_hears_is_whole() {
        let text = std::str::from_utf8(PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
    }
}
