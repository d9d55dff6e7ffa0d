//! Opens connections to nodes: resolve, connect, TLS; or through the agent that is linked already.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::http1::{Connection, Io};
use super::{Target, UpstreamError};

/// Opens connections; one for all workers.
pub(crate) struct Dialer {
    tls: TlsConnector,
    timeout: Duration,
}

impl Dialer {
    /// Makes a dialer that speaks TLS as `tls` says and waits `timeout` for a connection.
    pub(crate) fn new(tls: rustls::ClientConfig, timeout: Duration) -> Self {
        Self {
            tls: TlsConnector::from(Arc::new(tls)),
            timeout,
        }
    }

    /// Connects to a node.
    pub(super) async fn connect(&self, target: &Target) -> Result<Connection, UpstreamError> {
        tokio::time::timeout(self.timeout, self.open(target))
            .await
            .map_err(|_| UpstreamError::ConnectTimeout(self.timeout))?
    }

    async fn open(&self, target: &Target) -> Result<Connection, UpstreamError> {
        if let Some(agent) = &target.agent {
            let tunnel = agent.dial().await.map_err(UpstreamError::Connect)?;
            return Ok(Connection::new(Io::Tunnel(Box::new(tunnel))));
        }
        let stream = tcp(target).await?;
        if !target.tls {
            return Ok(Connection::new(Io::Plain(stream)));
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|e| UpstreamError::Connect(io::Error::other(e)))?;
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(UpstreamError::Connect)?;
        Ok(Connection::new(Io::Tls(Box::new(stream))))
    }
}

async fn tcp(target: &Target) -> Result<TcpStream, UpstreamError> {
    let addresses = tokio::net::lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(UpstreamError::Connect)?;
    let mut last = UpstreamError::Connect(io::Error::other("the name has no address"));
    for address in addresses {
        if let Err(refusal) = web::outbound::Reach::Nodes.check(address.ip()) {
            last = UpstreamError::Refused(refusal.to_string());
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it every request may wait for the delayed acknowledgement of the one before (40 ms).
                stream.set_nodelay(true).map_err(UpstreamError::Connect)?;
                return Ok(stream);
            }
            Err(error) => last = UpstreamError::Connect(error),
        }
    }
    Err(last)
}
