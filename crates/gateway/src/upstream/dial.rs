//! Opens connections to nodes: resolve, connect, TLS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Target, UpstreamError};

/// Answers up to this many bytes are read at once; it bounds the memory of a slow stream.
const READ_BUFFER: usize = 8 << 10;

/// Opens connections; one for all workers.
pub(crate) struct Dialer {
    tls: TlsConnector,
    timeout: Duration,
}

impl Dialer {
    /// Makes a dialer that trusts the public certificate authorities.
    pub(crate) fn new(timeout: Duration) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            tls: TlsConnector::from(Arc::new(config)),
            timeout,
        }
    }

    /// Connects to a node and returns the sending half; the connection is driven by a task of this worker.
    pub(super) async fn connect(
        &self,
        target: &Target,
    ) -> Result<SendRequest<Full<Bytes>>, UpstreamError> {
        tokio::time::timeout(self.timeout, self.open(target))
            .await
            .map_err(|_| UpstreamError::ConnectTimeout(self.timeout))?
    }

    async fn open(&self, target: &Target) -> Result<SendRequest<Full<Bytes>>, UpstreamError> {
        let stream = tcp(target).await?;
        if target.tls {
            let name = ServerName::try_from(target.host.clone())
                .map_err(|e| UpstreamError::Connect(std::io::Error::other(e)))?;
            let stream = self
                .tls
                .connect(name, stream)
                .await
                .map_err(UpstreamError::Connect)?;
            handshake(stream).await
        } else {
            handshake(stream).await
        }
    }
}

async fn tcp(target: &Target) -> Result<TcpStream, UpstreamError> {
    let addresses = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(UpstreamError::Connect)?;
    let mut last = UpstreamError::Connect(std::io::Error::other("the name has no address"));
    for address in addresses {
        if let Err(refusal) = web::outbound::Reach::Nodes.check(address.ip()) {
            last = UpstreamError::Refused(refusal.to_string());
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it every token waits for the delayed acknowledgement of the one before (40 ms).
                stream.set_nodelay(true).map_err(UpstreamError::Connect)?;
                return Ok(stream);
            }
            Err(error) => last = UpstreamError::Connect(error),
        }
    }
    Err(last)
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, UpstreamError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(READ_BUFFER.max(64 << 10))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(UpstreamError::Broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to a node ended");
        }
    });
    Ok(sender)
}
