//! From an HTTP request to a WebSocket (RFC 6455, section 4.2), and to where it is served.

use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{
    CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use identity::{AuthError, presented_credential};
use primitives::{ErrorKind, RequestId, Secret};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Bytes;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use web::{Doorway, Problem};

use crate::connection::{Beginning, Connection};
use crate::hub::Hub;
use crate::inbound::Wanted;
use crate::seats::{Full, Taker};
use crate::socket::Socket;
use crate::standing::Standing;
use crate::topic::Topic;

/// Bytes that the system holds of what a client has not taken yet. Its own bound would be megabytes a connection.
const SEND_BUFFER: usize = 64 << 10;

impl Hub {
    /// Returns the routes `/ws` and `/ws/inference/{id}`.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/ws", get(connect))
            .route("/ws/inference/{id}", get(connect_to_inference))
            .with_state(self.clone())
    }
}

async fn connect(State(hub): State<Hub>, request: Request) -> Response {
    upgrade(hub, request, None)
}

async fn connect_to_inference(
    State(hub): State<Hub>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let Ok(id) = id.parse() else {
        return unknown_inference();
    };
    upgrade(hub, request, Some(id))
}

fn unknown_inference() -> Response {
    Problem::new(
        ErrorKind::NotFound,
        "there is no such inference, or it is not yours: take the id from the answer to your request, and connect while it runs or soon after",
    )
    .into_response()
}

fn upgrade(hub: Hub, mut request: Request, inference: Option<RequestId>) -> Response {
    let accepted = accept_key(request.headers())
        .and_then(|key| let_in(&hub, request.headers(), inference).map(|taker| (key, taker)));
    let (key, taker) = match accepted {
        Ok(accepted) => accepted,
        Err(refused) => return *refused,
    };
    let beginning = Beginning {
        id: request
            .extensions()
            .get::<RequestId>()
            .copied()
            .unwrap_or_else(|| RequestId::generate(hub.now())),
        follow: inference.map(|id| Wanted {
            topic: Topic::OneInference(id),
            after: None,
        }),
    };
    let upgrading = hyper::upgrade::on(&mut request);
    let tasks = hub.inner.tasks.clone();
    tasks.spawn(async move {
        match upgrading.await {
            Ok(upgraded) => Box::pin(serve(upgraded, hub, taker, beginning)).await,
            Err(error) => tracing::debug!(%error, "a WebSocket did not come about"),
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    response
}

/// Serves the connection here, not where it came in: the threads of the data plane have answers to carry.
async fn serve(upgraded: Upgraded, hub: Hub, taker: Taker, beginning: Beginning) {
    let limit = hub.inner.config.message_limit;
    let patience = hub.inner.config.send_timeout;
    match upgraded.downcast::<TokioIo<Doorway<TcpStream>>>() {
        Ok(parts) => match moved_here(parts.io.into_inner().into_inner()) {
            Ok(stream) => {
                let socket = Socket::new(stream, parts.read_buf, limit, patience).await;
                Connection::serve(socket, hub, taker, beginning).await;
            }
            Err(error) => tracing::warn!(%error, "a WebSocket could not be taken over"),
        },
        // Behind TLS, or under another server.
        Err(upgraded) => {
            let socket = Socket::new(TokioIo::new(upgraded), Bytes::new(), limit, patience).await;
            Box::pin(Connection::serve(socket, hub, taker, beginning)).await;
        }
    }
}

/// Moves a connection from the event loop that accepted it to this one.
fn moved_here(stream: TcpStream) -> std::io::Result<TcpStream> {
    let stream = TcpStream::from_std(stream.into_std()?)?;
    if let Err(error) = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER) {
        tracing::debug!(%error, "the send buffer of a WebSocket could not be bounded");
    }
    Ok(stream)
}

/// Checks the request's head and returns the proof that it was understood.
fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, Box<Response>> {
    let is_upgrade =
        has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, "websocket");
    if !is_upgrade {
        return Err(Box::new(refuse(
            ErrorKind::Invalid,
            "this is a WebSocket: connect with a WebSocket client, or with `remuda watch`",
        )));
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .map(HeaderValue::as_bytes)
        != Some(b"13")
    {
        let mut refused = refuse(
            ErrorKind::Invalid,
            "the WebSocket version is not 13: use a newer client",
        );
        refused
            .headers_mut()
            .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(Box::new(refused));
    }
    headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| key.len() == 24)
        .and_then(|key| HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok())
        .ok_or_else(|| {
            Box::new(refuse(
                ErrorKind::Invalid,
                "sec-websocket-key is missing or has not 16 bytes in base64: use a WebSocket client",
            ))
        })
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value.to_str().is_ok_and(|text| {
            text.split(',')
                .any(|t| t.trim().eq_ignore_ascii_case(token))
        })
    })
}

/// Checks origin and credential, and takes a place. Who presents nothing gets a place for as long as it takes to say who they are.
fn let_in(
    hub: &Hub,
    headers: &HeaderMap,
    inference: Option<RequestId>,
) -> Result<Taker, Box<Response>> {
    if !is_trusted(hub, headers) {
        return Err(Box::new(refuse(
            ErrorKind::Forbidden,
            "pages of this origin may not connect: allow it in server.allowed_origins",
        )));
    }
    let now = hub.now();
    let snapshot = hub.inner.identity.snapshot();
    let presented = presented_credential(headers);
    let known = match &presented {
        None => None,
        Some(token) => {
            let principal = snapshot
                .authenticate(Some(&**token), now)
                .map_err(|error: AuthError| Box::new(Problem::from(error).into_response()))?;
            Standing::of(&principal).map(|standing| (Secret::new(token.to_string()), standing))
        }
    };
    if let (Some((_, who)), Some(id)) = (&known, inference)
        && hub
            .inner
            .channels
            .find(Topic::OneInference(id), *who, now)
            .is_err()
    {
        return Err(Box::new(unknown_inference()));
    }
    let mut taker = hub
        .inner
        .seats
        .take()
        .map_err(|full| Box::new(full_house(hub, full)))?;
    if let Some((token, standing)) = known {
        taker
            .sit(token, standing)
            .map_err(|full| Box::new(full_house(hub, full)))?;
        // Whoever looked through the connections a moment ago did not see this one.
        taker.seat.check(&hub.inner.identity.snapshot(), now);
    }
    Ok(taker)
}

/// A browser names the page that connects. Pages of this server may, and those that the operator allows.
fn is_trusted(hub: &Hub, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let own = headers.get(HOST).and_then(|host| host.to_str().ok());
    let is_own = origin
        .split_once("://")
        .is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && Some(rest) == own);
    is_own || (hub.inner.origins)(origin)
}

fn full_house(hub: &Hub, full: Full) -> Response {
    hub.inner.metrics.refused.inc();
    let problem = match full {
        Full::InAll => Problem::new(
            ErrorKind::Unavailable,
            "there are too many WebSocket connections: try again soon, or raise [realtime] max_connections",
        ),
        Full::OfCaller => Problem::new(
            ErrorKind::TooMany,
            "you have too many WebSocket connections: close some, or have [realtime] max_per_caller raised",
        ),
    };
    problem.retry_after(Duration::from_secs(5)).into_response()
}

fn refuse(kind: ErrorKind, detail: &str) -> Response {
    Problem::new(kind, detail).into_response()
}
