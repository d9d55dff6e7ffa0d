//! A WebSocket to the server, with the caller's credential.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use primitives::Secret;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;
use web::outbound::{Trust, certificate_fault};

use super::error::ClientError;

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Silence after which the server is given up: it asks for a sign of life more often than that.
const SILENCE: Duration = Duration::from_mins(2);
/// The largest message from the server, in bytes.
const LARGEST_MESSAGE: usize = 4 << 20;

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A WebSocket. Dropping it closes the connection.
pub(crate) struct Socket {
    stream: WebSocketStream<Box<dyn Stream>>,
    server: String,
}

/// What came over a [`Socket`].
pub(crate) enum Arrived {
    /// A message.
    Message(Value),
    /// The connection ended, with the server's code and words where it gave some.
    End(Option<(u16, String)>),
}

impl Socket {
    /// Connects to `url` (`http` or `https`) as who holds `token`.
    pub(super) async fn open(
        url: Url,
        token: Option<&Secret<String>>,
        trust: &Trust,
        server: String,
    ) -> Result<Self, ClientError> {
        let opening = open_stream(&url, token, trust, &server);
        let stream = timeout(CONNECT_PATIENCE, opening)
            .await
            .map_err(|_| unreachable(&server, "it does not answer"))??;
        Ok(Self { stream, server })
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &Value) -> Result<(), ClientError> {
        self.stream
            .send(Message::text(message.to_string()))
            .await
            .map_err(|_| ClientError::Cut {
                server: self.server.clone(),
            })
    }

    /// Returns what comes next.
    pub(crate) async fn next(&mut self) -> Result<Arrived, ClientError> {
        loop {
            let Ok(arrived) = timeout(SILENCE, self.stream.next()).await else {
                return Ok(Arrived::End(None));
            };
            match arrived {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text)
                        .map(Arrived::Message)
                        .map_err(|error| ClientError::Unexpected {
                            server: self.server.clone(),
                            reason: error.to_string(),
                        });
                }
                Some(Ok(Message::Close(frame))) => {
                    return Ok(Arrived::End(frame.map(|frame| {
                        (frame.code.into(), frame.reason.as_str().to_owned())
                    })));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(Arrived::End(None)),
            }
        }
    }
}

async fn open_stream(
    url: &Url,
    token: Option<&Secret<String>>,
    trust: &Trust,
    server: &str,
) -> Result<WebSocketStream<Box<dyn Stream>>, ClientError> {
    let failed = |error: &dyn std::fmt::Display| unreachable(server, &error.to_string());
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let tcp = TcpStream::connect((bare, port))
        .await
        .map_err(|error| failed(&error))?;
    let (scheme, stream): (_, Box<dyn Stream>) = if url.scheme() == "https" {
        let config = trust.client_config().map_err(|error| failed(&error))?;
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| failed(&error))?;
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .map_err(|error| match certificate_fault(&error) {
                Some(reason) => ClientError::Certificate {
                    server: server.to_owned(),
                    reason,
                },
                None => failed(&error),
            })?;
        ("wss", Box::new(tls))
    } else {
        ("ws", Box::new(tcp))
    };
    let rest = url.as_str().split_once(':').map_or("", |(_, rest)| rest);
    let mut request = format!("{scheme}:{rest}")
        .into_client_request()
        .map_err(|error| failed(&error))?;
    if let Some(token) = token {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
                ClientError::Stream("the key is no key: check REMUDA_API_KEY".to_owned())
            })?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(8 << 10)
        .max_message_size(Some(LARGEST_MESSAGE));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((stream, _)) => Ok(stream),
        Err(Error::Http(response)) => {
            let status =
                StatusCode::from_u16(response.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
            let body = response.body().as_deref().unwrap_or_default();
            Err(ClientError::from_answer(status, body))
        }
        Err(error) => Err(failed(&error)),
    }
}

fn unreachable(server: &str, reason: &str) -> ClientError {
    ClientError::Unreachable {
        server: server.to_owned(),
        reason: reason.to_owned(),
    }
}
