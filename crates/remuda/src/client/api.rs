//! Calls to the server: JSON in, JSON out, or a stream of lines.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::form_urlencoded;
use web::outbound::{Answer, Call, Client, ClientConfig, Reach, Trust};

use super::address::ServerAddress;
use super::error::ClientError;
use super::events::Events;
use super::lines::Lines;
use super::presented::Presented;
use super::socket::Socket;

/// The largest answer that is read whole, in bytes.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// How long the first byte of a model's answer may take: a cold load of a large model lies in it.
const MODEL_PATIENCE: Duration = Duration::from_mins(15);
/// How long the server may take to keep and compare what was uploaded.
const UPLOAD_PATIENCE: Duration = Duration::from_mins(30);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A server and the caller's credential.
pub(crate) struct Api {
    client: Client,
    trust: Trust,
    server: ServerAddress,
    presented: Presented,
}

impl Api {
    /// Makes a caller of `server`, which the authorities of `trust` vouch for.
    pub(crate) fn new(
        server: ServerAddress,
        presented: Presented,
        trust: Trust,
    ) -> Result<Self, ClientError> {
        let client = Client::new(ClientConfig {
            trust: trust.clone(),
            ..ClientConfig::new(Reach::Nodes)
        })
        .map_err(|error| ClientError::from_outbound(&server.to_string(), &error))?;
        Ok(Self {
            client,
            trust,
            server,
            presented,
        })
    }

    /// Returns the server's address.
    pub(crate) fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// Returns true when calls carry a credential.
    pub(crate) fn is_signed_in(&self) -> bool {
        !matches!(self.presented, Presented::Nothing)
    }

    /// Gets a JSON value.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.value(self.call(Method::GET, path).await?).await
    }

    /// Gets a JSON value whatever the status says, for answers whose body matters on failure too.
    pub(crate) async fn get_any(&self, path: &str) -> Result<(u16, Value), ClientError> {
        let answer = self.send(self.call(Method::GET, path).await?).await?;
        let status = answer.status().as_u16();
        Ok((status, self.read(answer).await?))
    }

    /// Posts a JSON value and reads one whatever the status says.
    pub(crate) async fn post_any(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<(u16, Value), ClientError> {
        let call = self.call(Method::POST, path).await?.json(body);
        let answer = self.send(call).await?;
        let status = answer.status().as_u16();
        Ok((status, self.read(answer).await?))
    }

    /// Posts a JSON value and reads one.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.value(self.call(Method::POST, path).await?.json(body))
            .await
    }

    /// Posts a JSON value and reads one that takes as long as loading a model does.
    pub(crate) async fn post_patiently(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<Value, ClientError> {
        let call = self.call(Method::POST, path).await?.json(body);
        let call = call.head_timeout(MODEL_PATIENCE).total_timeout(None);
        self.value(call).await
    }

    /// Posts a text and reads a JSON value, which may take as long as the server works on all of the text.
    pub(crate) async fn post_text(&self, path: &str, text: Bytes) -> Result<Value, ClientError> {
        let call = self.call(Method::POST, path).await?;
        let call = call.head_timeout(UPLOAD_PATIENCE).total_timeout(None);
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        self.value(call.header(CONTENT_TYPE, plain).bytes(text))
            .await
    }

    /// Posts a form and reads a JSON value.
    pub(crate) async fn post_form(
        &self,
        path: &str,
        kind: &str,
        form: Bytes,
    ) -> Result<Value, ClientError> {
        let call = self.call(Method::POST, path).await?.total_timeout(None);
        let kind = HeaderValue::from_str(kind)
            .unwrap_or(HeaderValue::from_static("application/octet-stream"));
        self.value(call.header(CONTENT_TYPE, kind).bytes(form))
            .await
    }

    /// Posts nothing and reads a JSON value.
    pub(crate) async fn poke(&self, path: &str) -> Result<Value, ClientError> {
        self.value(self.call(Method::POST, path).await?).await
    }

    /// Patches what stands at `path` with a JSON value and reads one.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.value(self.call(Method::PATCH, path).await?.json(body))
            .await
    }

    /// Puts a JSON value at `path` and reads one.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.value(self.call(Method::PUT, path).await?.json(body))
            .await
    }

    /// Puts bytes at `path` and reads a JSON value.
    pub(crate) async fn put_bytes(&self, path: &str, bytes: Bytes) -> Result<Value, ClientError> {
        let call = self.call(Method::PUT, path).await?;
        let call = call.head_timeout(UPLOAD_PATIENCE).total_timeout(None);
        let kind = HeaderValue::from_static("application/octet-stream");
        self.value(call.header(CONTENT_TYPE, kind).bytes(bytes))
            .await
    }

    /// Deletes what stands at `path`; some routes want a body.
    pub(crate) async fn delete(
        &self,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let call = self.call(Method::DELETE, path).await?;
        self.value(match body {
            Some(body) => call.json(body),
            None => call,
        })
        .await
    }

    /// Posts a JSON value and reads the answer line by line.
    pub(crate) async fn stream(&self, path: &str, body: &Value) -> Result<Lines, ClientError> {
        let call = self
            .call(Method::POST, path)
            .await?
            .json(body)
            .head_timeout(MODEL_PATIENCE)
            .total_timeout(None);
        let answer = self.accepted(call).await?;
        Ok(Lines::new(answer, self.server.to_string()))
    }

    /// Gets an answer of any size piece by piece.
    pub(crate) async fn download(&self, path: &str) -> Result<Download, ClientError> {
        let call = self.call(Method::GET, path).await?.total_timeout(None);
        let answer = self.accepted(call).await?;
        Ok(Download {
            answer,
            server: self.server.to_string(),
        })
    }

    /// Reads server-sent events, those after the one of number `after`.
    pub(crate) async fn events(&self, path: &str, after: &str) -> Result<Events, ClientError> {
        // What is no header's value was none of the server's ids.
        let after = HeaderValue::from_str(after).unwrap_or(HeaderValue::from_static("0"));
        let call = self.call(Method::GET, path).await?.total_timeout(None);
        let call = call.header(LAST_EVENT_ID, after);
        let answer = self.accepted(call).await?;
        Ok(Events::new(answer, self.server.to_string()))
    }

    /// Opens a WebSocket.
    pub(crate) async fn socket(&self, path: &str) -> Result<Socket, ClientError> {
        let token = match &self.presented {
            Presented::Nothing => None,
            Presented::Key(key) => Some(key.clone()),
            Presented::SignIn(sign_in) => Some(sign_in.token(&self.client).await?),
        };
        let url = self.server.join(path);
        Socket::open(url, token.as_ref(), &self.trust, self.server.to_string()).await
    }

    /// Reads a value as the type that a command shows.
    pub(crate) fn decode<T: DeserializeOwned>(&self, value: Value) -> Result<T, ClientError> {
        serde_json::from_value(value).map_err(|error| ClientError::Unexpected {
            server: self.server.to_string(),
            reason: error.to_string(),
        })
    }

    /// Returns the value of the `authorization` header that calls carry.
    pub(crate) async fn authorization(&self) -> Result<Option<String>, ClientError> {
        let token = match &self.presented {
            Presented::Nothing => return Ok(None),
            Presented::Key(key) => key.clone(),
            Presented::SignIn(sign_in) => sign_in.token(&self.client).await?,
        };
        Ok(Some(format!("Bearer {}", token.expose())))
    }

    async fn call(&self, method: Method, path: &str) -> Result<Call, ClientError> {
        let call = self.client.call(method, &self.server.join(path));
        Ok(match &self.presented {
            Presented::Nothing => call,
            Presented::Key(key) => call.bearer(key),
            Presented::SignIn(sign_in) => call.bearer(&sign_in.token(&self.client).await?),
        })
    }

    async fn send(&self, call: Call) -> Result<Answer, ClientError> {
        call.send()
            .await
            .map_err(|error| ClientError::from_outbound(&self.server.to_string(), &error))
    }

    async fn accepted(&self, call: Call) -> Result<Answer, ClientError> {
        let answer = self.send(call).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let headers = answer.headers().clone();
        let body = answer.bytes(LARGEST_ANSWER).await.unwrap_or_default();
        Err(ClientError::from_answer(status, &body).with_retry_after(&headers))
    }

    async fn value(&self, call: Call) -> Result<Value, ClientError> {
        let answer = self.accepted(call).await?;
        self.read(answer).await
    }

    async fn read(&self, answer: Answer) -> Result<Value, ClientError> {
        let server = self.server.to_string();
        let body = answer
            .bytes(LARGEST_ANSWER)
            .await
            .map_err(|error| ClientError::from_outbound(&server, &error))?;
        if body.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| ClientError::Unexpected {
            server,
            reason: error.to_string(),
        })
    }
}

/// An answer that is read piece by piece.
pub(crate) struct Download {
    answer: Answer,
    server: String,
}

impl Download {
    /// Returns the next piece, `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let piece = self.answer.chunk().await;
        piece.map_err(|error| ClientError::from_outbound(&self.server, &error))
    }
}

/// Adds parameters to a path; absent ones are left out.
pub(crate) fn query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            text.append_pair(name, value);
        }
    }
    match text.finish() {
        text if text.is_empty() => path.to_owned(),
        text => format!("{path}?{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_parameters_leave_no_trace() {
        assert_eq!(query("/p", &[("a", None)]), "/p");
        assert_eq!(
            query("/p", &[("a", Some("x y")), ("b", None), ("c", Some("z:1"))]),
            "/p?a=x+y&c=z%3A1"
        );
    }
}
