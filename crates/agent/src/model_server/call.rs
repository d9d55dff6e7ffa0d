//! HTTP calls to the model server.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
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

impl CallError {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Unreachable(text) | Self::Answer(text) => text,
        }
    }
}

impl ModelServer {
    /// Sends a request, with JSON or without a body.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, CallError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &*self.address);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request
            .body(Full::new(body))
            .map_err(|error| CallError::Answer(error.to_string()))?;
        match self.connect().await.map_err(CallError::Unreachable)? {
            Socket::Beside(socket) => self.send_over(socket, request).await,
            Socket::Inside(socket) => self.send_over(socket, request).await,
        }
    }

    async fn send_over<I>(
        &self,
        socket: I,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, CallError>
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
        sender.send_request(request).await.map_err(broken)
    }

    /// Asks for text, within 2 s.
    pub(super) async fn text(&self, path: &str) -> Result<Bytes, CallError> {
        let asked = async {
            let answer = self.send(Method::GET, path, None).await?;
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
