//! A WebSocket client that hides nothing.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long the server may be silent before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Listener {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl Listener {
    /// Connects, or returns the status and the words of the refusal.
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        token: Option<&str>,
    ) -> Result<Self, (u16, String)> {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&'static str, &str)> = bearer
            .iter()
            .map(|bearer| ("authorization", bearer.as_str()))
            .collect();
        Self::open_with(address, path, &headers).await
    }

    pub(crate) async fn open_with(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, String)> {
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                Err((
                    response.status().as_u16(),
                    String::from_utf8_lossy(&body).into_owned(),
                ))
            }
            Err(error) => panic!("no answer: {error}"),
        }
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Returns the next message.
    pub(crate) async fn next(&mut self) -> Value {
        match self.message().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?} instead of a text"),
        }
    }

    async fn message(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.socket.next())
                .await
                .unwrap()
                .unwrap()
                .unwrap();
            if !matches!(message, Message::Ping(_) | Message::Pong(_)) {
                return message;
            }
        }
    }

    /// Sends a message and returns what comes back.
    pub(crate) async fn ask(&mut self, message: &Value) -> Value {
        self.send(message).await;
        self.next().await
    }

    /// Subscribes and returns the confirmation's data.
    pub(crate) async fn subscribe(&mut self, topics: Value) -> Value {
        let reply = self
            .ask(&json!({"type": "subscribe", "data": {"topics": topics}}))
            .await;
        assert_eq!(reply["type"], "subscription_confirmed", "{reply}");
        reply["data"].clone()
    }

    /// Reads to the end and returns the code of the close; 1006 where there was none, as browsers have it.
    pub(crate) async fn closed(mut self) -> u16 {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.unwrap() {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return 1006,
            }
        }
    }

    /// Shows that nothing came before the answer to a heartbeat.
    pub(crate) async fn heard_nothing(&mut self) {
        let reply = self.ask(&json!({"type": "heartbeat", "id": "last"})).await;
        assert_eq!(
            (&reply["type"], &reply["id"]),
            (&json!("heartbeat"), &json!("last")),
            "{reply}"
        );
    }
}
