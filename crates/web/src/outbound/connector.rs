//! Opens TCP connections: resolve, check every address, connect to a checked one.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tower::Service;

use super::way::{Carried, Way};
use super::{Reach, Refusal};

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the connection was not made in time")]
    Timeout,
    #[error("the name has no address")]
    Unresolved,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Connects only where its [`Reach`] allows.
#[derive(Clone, Debug)]
pub(super) struct GuardedConnector {
    pub(super) reach: Reach,
    pub(super) connect_timeout: Duration,
    pub(super) way: Arc<OnceLock<Arc<dyn Way>>>,
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<Carried>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (reach, connect_timeout) = (self.reach, self.connect_timeout);
        let way = self.way.get().and_then(|way| way.open(uri.host()?));
        Box::pin(async move {
            let deadline = Instant::now() + connect_timeout;
            if let Some(opening) = way {
                let stream = timeout_at(deadline, opening)
                    .await
                    .map_err(|_| ConnectError::Timeout)??;
                return Ok(TokioIo::new(Carried::Way(stream)));
            }
            timeout_at(deadline, connect(reach, uri, deadline))
                .await
                .map_err(|_| ConnectError::Timeout)?
        })
    }
}

async fn connect(
    reach: Reach,
    uri: Uri,
    deadline: Instant,
) -> Result<TokioIo<Carried>, ConnectError> {
    let default_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(Refusal::Scheme.into()),
    };
    let host = uri.host().ok_or(ConnectError::Unresolved)?;
    let port = uri.port_u16().unwrap_or(default_port);
    let mut last = ConnectError::Unresolved;
    let addresses = resolve(host, port).await?;
    let mut untried = addresses.len() as u32;
    for address in addresses {
        // An address that swallows packets must leave time for the ones after it.
        let share = deadline.saturating_duration_since(Instant::now()) / untried.max(1);
        untried = untried.saturating_sub(1);
        if let Err(refusal) = reach.check(address.ip()) {
            last = refusal.into();
            continue;
        }
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without this, small frames wait for the other side's delayed acknowledgement.
                stream.set_nodelay(true)?;
                return Ok(TokioIo::new(Carried::Tcp(stream)));
            }
            Ok(Err(error)) => last = error.into(),
            Err(_) => last = ConnectError::Timeout,
        }
    }
    Err(last)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    Ok(lookup_host((bare, port)).await?.collect())
}
