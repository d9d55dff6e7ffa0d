//! A TCP link that can be cut and restored, for tests that lose a database or a node.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Forwards every connection to a target until cut. While cut, open connections are closed and new ones are closed at
/// once. Stops when dropped.
pub struct LinkBreaker {
    address: SocketAddr,
    whole: Arc<watch::Sender<bool>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl LinkBreaker {
    /// Starts forwarding from a free local port to `target` (`host:port`).
    ///
    /// # Errors
    /// Fails when no port is to be had.
    pub async fn start(target: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let whole = Arc::new(watch::Sender::new(true));
        let (links, target) = (whole.clone(), target.to_owned());
        let tracker = TaskTracker::new();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = links.subscribe();
                tracker.spawn(forward(client, target.clone(), state));
            }
        });
        Ok(Self {
            address,
            whole,
            accepting,
        })
    }

    /// Starts forwarding to the server that a URL with an explicit port names.
    ///
    /// # Errors
    /// Fails when `url` has no host and port, or no port is to be had.
    pub async fn before(url: &str) -> anyhow::Result<Self> {
        Self::start(&target_of(url)?).await
    }

    /// Returns where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `url` with its host and port replaced by this link's.
    ///
    /// # Errors
    /// Fails when `url` has no host and port.
    pub fn through(&self, url: &str) -> anyhow::Result<String> {
        let target = target_of(url)?;
        Ok(url.replacen(&target, &self.address.to_string(), 1))
    }

    /// Cuts the link.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Restores the link for new connections.
    pub fn restore(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for LinkBreaker {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

/// Returns `host:port` of a URL with an explicit port.
fn target_of(url: &str) -> anyhow::Result<String> {
    let uri: http::Uri = url.parse()?;
    let (host, port) = (uri.host(), uri.port_u16());
    match (host, port) {
        (Some(host), Some(port)) => Ok(format!("{host}:{port}")),
        _ => anyhow::bail!("{url} does not name a host and a port"),
    }
}

async fn forward(mut client: TcpStream, target: String, mut state: watch::Receiver<bool>) {
    if !*state.borrow() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(&target).await else {
        return;
    };
    tokio::select! {
        // Either side may leave at any time; the other side then sees it.
        result = copy_bidirectional(&mut client, &mut server) => drop(result),
        result = state.wait_for(|whole| !*whole) => drop(result),
    }
}
