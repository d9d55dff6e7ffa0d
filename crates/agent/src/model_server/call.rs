//! HTTP calls to the model server.

use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::{ModelServer, Socket};

/// The most bytes of an answer: room for 10,000 models.
const MOST_BYTES: usize = 16 << 20;
/// How long the server may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// Nobody answers there; with what to do.
    Unreachable(String),
    /// It answers, but not as expected.
    Answer(String),
}

impl ModelServer {
    async fn get(&self, path: &str) -> Result<Response<Incoming>, CallError> {
        match self.connect().await.map_err(CallError::Unreachable)? {
            Socket::Beside(socket) => self.get_over(socket, path).await,
            Socket::Inside(socket) => self.get_over(socket, path).await,
        }
    }

    async fn get_over<I>(&self, socket: I, path: &str) -> Result<Response<Incoming>, CallError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken =
            |error: hyper::Error| CallError::Unreachable(self.unreachable(&error.to_string()));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .map_err(broken)?;
        // Ends with the answer's body.
        tokio::spawn(connection);
        let request = Request::builder()
            .uri(path)
            .header(HOST, &*self.address)
            .body(Empty::<Bytes>::new())
            .map_err(|error| CallError::Answer(error.to_string()))?;
        sender.send_request(request).await.map_err(broken)
    }

    /// Asks for text, within 2 s.
    pub(super) async fn text(&self, path: &str) -> Result<Bytes, CallError> {
        let asked = async {
            let answer = self.get(path).await?;
            if answer.status() != StatusCode::OK {
                return Err(CallError::Answer(format!(
                    "{path} answers {}",
                    answer.status()
                )));
            }
            Limited::new(answer.into_body(), MOST_BYTES)
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes)
                .map_err(|error| CallError::Answer(error.to_string()))
        };
        timeout(PATIENCE, asked)
            .await
            .map_err(|_| CallError::Unreachable(self.unreachable("no answer within 2 s")))?
    }

    /// Asks for JSON, within 2 s.
    pub(super) async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        let text = self.text(path).await?;
        serde_json::from_slice(&text).map_err(|error| CallError::Answer(format!("{path}: {error}")))
    }
}
