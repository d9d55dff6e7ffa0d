//! The one model server beside the agent.

mod call;
mod commands;
mod read;

pub(crate) use commands::PullLine;
pub(crate) use read::read_server;

use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio::net::TcpStream;

use crate::config::{AgentConfig, InsideServer};

/// Where the server is. Nothing that comes over the wire changes it.
#[derive(Clone, Debug)]
pub(crate) struct ModelServer {
    /// As `host:port`; of no meaning to a server inside.
    address: Arc<str>,
    inside: Option<Arc<dyn InsideServer>>,
}

/// A connection to the server.
pub(crate) enum Socket {
    Beside(TcpStream),
    Inside(DuplexStream),
}

impl ModelServer {
    pub(crate) fn new(config: &AgentConfig) -> Self {
        let url = &config.server;
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        Self {
            address: format!("{host}:{port}").into(),
            inside: config.inside.clone(),
        }
    }

    /// Connects, or says why not.
    pub(crate) async fn connect(&self) -> Result<Socket, String> {
        if let Some(inside) = &self.inside {
            return Ok(Socket::Inside(inside.connect()));
        }
        let socket = TcpStream::connect(&*self.address)
            .await
            .map_err(|error| self.unreachable(&error.to_string()))?;
        socket
            .set_nodelay(true)
            .map_err(|error| self.unreachable(&error.to_string()))?;
        Ok(Socket::Beside(socket))
    }

    fn unreachable(&self, reason: &str) -> String {
        if self.inside.is_some() {
            return format!("the agent's own engine does not answer: {reason}");
        }
        format!(
            "no model server answers at {} beside the agent ({reason}): start it, or start the agent with another --model-server",
            self.address
        )
    }
}
