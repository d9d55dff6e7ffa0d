//! The one model server beside the agent.

mod call;
mod command;
mod read;

pub(crate) use command::run_command;
pub(crate) use read::read_server;

use std::sync::Arc;

use tokio::net::TcpStream;
use url::Url;

/// Where the server is. Nothing that comes over the wire changes it.
#[derive(Clone, Debug)]
pub(crate) struct ModelServer {
    address: Arc<str>,
}

impl ModelServer {
    pub(crate) fn new(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        Self {
            address: format!("{host}:{port}").into(),
        }
    }

    /// Connects, or says why not.
    pub(crate) async fn connect(&self) -> Result<TcpStream, String> {
        let socket = TcpStream::connect(&*self.address)
            .await
            .map_err(|error| self.unreachable(&error.to_string()))?;
        socket
            .set_nodelay(true)
            .map_err(|error| self.unreachable(&error.to_string()))?;
        Ok(socket)
    }

    fn unreachable(&self, reason: &str) -> String {
        format!(
            "no model server answers at {} beside the agent ({reason}): start it, or start the agent with another --model-server",
            self.address
        )
    }
}
