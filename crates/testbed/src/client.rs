//! A small HTTP client that hides nothing: status, headers, bytes as they came.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Bytes of a response that [`Reply`] holds at most.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Talks to one server; every request has a connection of its own.
#[derive(Clone, Debug)]
pub struct TestClient {
    address: SocketAddr,
    headers: HeaderMap,
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What came after the body; empty when nothing did.
    pub trailers: HeaderMap,
}

impl Reply {
    /// Returns the body as text, with marks for what is not UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the body as JSON.
    ///
    /// # Errors
    /// Shows the body when it is no JSON.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", self.text()))
    }
}

impl TestClient {
    /// Returns a client for the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            headers: HeaderMap::new(),
        }
    }

    /// Returns a client that sends a bearer key.
    ///
    /// # Errors
    /// Fails when the key cannot stand in a header.
    pub fn with_key(&self, key: &str) -> anyhow::Result<Self> {
        self.with_header(AUTHORIZATION.as_str(), &format!("Bearer {key}"))
    }

    /// Returns a client that sends one more header.
    ///
    /// # Errors
    /// Fails when name or value are not fit for a header.
    pub fn with_header(&self, name: &str, value: &str) -> anyhow::Result<Self> {
        let mut client = self.clone();
        client
            .headers
            .insert(name.parse::<HeaderName>()?, HeaderValue::from_str(value)?);
        Ok(client)
    }

    /// Returns the server's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gets a path.
    ///
    /// # Errors
    /// Fails when the connection does.
    pub async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// Fails when the connection does.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.send(Method::POST, path, Bytes::from(body.to_string()))
            .await
    }

    /// Sends any method and body, as JSON unless the client has another content type.
    ///
    /// # Errors
    /// Fails when the connection does.
    pub async fn send(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Reply> {
        self.open(method, path, body).await?.whole().await
    }

    /// Posts JSON and returns as soon as the response head is there.
    ///
    /// # Errors
    /// Fails when the connection does.
    pub async fn stream(&self, path: &str, body: &Value) -> anyhow::Result<ReplyStream> {
        self.open(Method::POST, path, Bytes::from(body.to_string()))
            .await
    }

    /// Gets a path and returns as soon as the response head is there.
    ///
    /// # Errors
    /// Fails when the connection does.
    pub async fn follow(&self, path: &str) -> anyhow::Result<ReplyStream> {
        self.open(Method::GET, path, Bytes::new()).await
    }

    async fn open(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<ReplyStream> {
        let stream = TcpStream::connect(self.address)
            .await
            .context("connecting")?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // Its errors come out of the response's own futures.
            drop(connection.await);
        });
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string());
        if let Some(headers) = request.headers_mut() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.extend(self.headers.clone());
        }
        let response = sender
            .send_request(request.body(Full::new(body))?)
            .await
            .context("waiting for the response")?;
        let (head, body) = response.into_parts();
        Ok(ReplyStream {
            status: head.status,
            headers: head.headers,
            body,
            held: BytesMut::new(),
            trailers: HeaderMap::new(),
            _connection: Driver(driver),
        })
    }
}

/// Ends the connection with the response it belongs to.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A response whose body is still coming. Dropping it closes the connection, as a client that goes away does.
pub struct ReplyStream {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    held: BytesMut,
    trailers: HeaderMap,
    _connection: Driver,
}

impl ReplyStream {
    /// Returns the next bytes as they came, or `None` after a proper end.
    ///
    /// # Errors
    /// Fails when the body breaks off, or nothing comes for 30 s.
    pub async fn chunk(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(30), self.body.frame()).await;
            match next.context("nothing came for 30 s")? {
                None => return Ok(None),
                Some(frame) => match frame.context("the body broke off")?.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(other) => self
                        .trailers
                        .extend(other.into_trailers().unwrap_or_default()),
                },
            }
        }
    }

    /// Returns the next NDJSON line, without its line feed.
    ///
    /// # Errors
    /// As [`Self::chunk`]; also when the body ends inside a line.
    pub async fn line(&mut self) -> anyhow::Result<Option<String>> {
        self.until("\n").await
    }

    /// Returns the next SSE event with its field names, without the blank line after it.
    ///
    /// # Errors
    /// As [`Self::chunk`]; also when the body ends inside an event.
    pub async fn event(&mut self) -> anyhow::Result<Option<String>> {
        self.until("\n\n").await
    }

    async fn until(&mut self, delimiter: &str) -> anyhow::Result<Option<String>> {
        loop {
            let found = self
                .held
                .windows(delimiter.len())
                .position(|window| window == delimiter.as_bytes());
            if let Some(at) = found {
                let frame = self.held.split_to(at + delimiter.len());
                return Ok(Some(std::str::from_utf8(&frame[..at])?.to_owned()));
            }
            anyhow::ensure!(
                self.held.len() < MOST_BYTES,
                "a frame beyond {MOST_BYTES} bytes"
            );
            match self.chunk().await? {
                Some(chunk) => self.held.extend_from_slice(&chunk),
                None if self.held.is_empty() => return Ok(None),
                None => anyhow::bail!(
                    "the body ends inside a frame: {}",
                    String::from_utf8_lossy(&self.held)
                ),
            }
        }
    }

    /// Reads the rest.
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub async fn whole(mut self) -> anyhow::Result<Reply> {
        while let Some(chunk) = self.chunk().await? {
            anyhow::ensure!(
                self.held.len() < MOST_BYTES,
                "a body beyond {MOST_BYTES} bytes"
            );
            self.held.extend_from_slice(&chunk);
        }
        Ok(Reply {
            status: self.status,
            headers: self.headers,
            body: self.held.freeze(),
            trailers: self.trailers,
        })
    }

    /// Reads the rest of an NDJSON stream as JSON values.
    ///
    /// # Errors
    /// As [`Self::line`]; also when a line is no JSON.
    pub async fn json_lines(mut self) -> anyhow::Result<Vec<Value>> {
        let mut values = Vec::new();
        while let Some(line) = self.line().await? {
            values.push(serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?);
        }
        Ok(values)
    }

    /// Reads the rest of an SSE stream: the `data:` payload of each event, comments left out.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub async fn event_data(mut self) -> anyhow::Result<Vec<String>> {
        let mut payloads = Vec::new();
        while let Some(event) = self.event().await? {
            payloads.extend(
                event
                    .lines()
                    .filter_map(|line| line.strip_prefix("data: "))
                    .map(str::to_owned),
            );
        }
        Ok(payloads)
    }
}
