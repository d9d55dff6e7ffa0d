//! What the model server here pulls from during a copy: a registry on the loopback interface, with one model, under a name that nobody
//! can guess, as long as the copy runs.
//!
//! Ollama goes on with files of which it has a part, also when they came from elsewhere, and compares each with its digest in the end.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agent_proto::COPY_NAMESPACE;
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fetching::Fetching;
use super::pace::Pace;
use super::source::Source;
use crate::sharing::{Manifest, Sharing, Wanted, hex_of, wanted};

/// Connections of the model server at the same time.
const MOST_CONNECTIONS: usize = 64;
/// The pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a manifest is called.
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What the model server is sent.
pub(super) type FrontBody = UnsyncBoxBody<Bytes, io::Error>;

/// The registry of one copy. Dropping it closes it.
pub(super) struct Front {
    shared: Arc<Shared>,
    address: SocketAddr,
    namespace: String,
    _stop: DropGuard,
}

/// What all its connections share.
pub(super) struct Shared {
    pub(super) source: Source,
    pub(super) sharing: Arc<Sharing>,
    pub(super) pace: Pace,
    text: Bytes,
    files: BTreeMap<String, u64>,
    manifest_path: String,
    blobs_path: String,
    broken: watch::Sender<Option<String>>,
}

impl Shared {
    /// Notes that the source gives nothing any more. The first reason counts.
    pub(super) fn give_up(&self, why: String) {
        self.broken.send_if_modified(|broken| {
            let is_first = broken.is_none();
            if is_first {
                *broken = Some(why);
            }
            is_first
        });
    }
}

impl Front {
    /// Opens a registry for one model.
    pub(super) async fn open(
        source: Source,
        manifest: Manifest,
        sharing: Arc<Sharing>,
        pace: Pace,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let namespace = format!("{COPY_NAMESPACE}{:032x}", rand::random::<u128>());
        let shared = Arc::new(Shared {
            source,
            sharing,
            pace,
            text: manifest.text,
            files: manifest.files,
            manifest_path: format!("/v2/{namespace}/copy/manifests/latest"),
            blobs_path: format!("/v2/{namespace}/copy/blobs/"),
            broken: watch::Sender::new(None),
        });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::clone(&shared), stop.clone()));
        Ok(Self {
            shared,
            address,
            namespace,
            _stop: stop.drop_guard(),
        })
    }

    /// Returns the name by which the model server pulls the model from here.
    pub(super) fn name(&self) -> String {
        format!("{}/{}/copy:latest", self.address, self.namespace)
    }

    /// Returns a name like it, under which something is kept for a moment.
    pub(super) fn other_name(&self) -> String {
        format!("{}/{}/before:latest", self.address, self.namespace)
    }

    /// Returns why the source gives nothing any more, once that is so.
    pub(super) async fn broken(&self) -> String {
        let mut broken = self.shared.broken.subscribe();
        match broken.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            // The sender lives as long as `self`.
            Err(_) => String::new(),
        }
    }

    /// Returns why the source gives nothing any more, if that is so.
    pub(super) fn why_broken(&self) -> Option<String> {
        self.shared.broken.borrow().clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((socket, _)) => {
                    let (shared, stop) = (Arc::clone(&shared), stop.clone());
                    tokio::spawn(async move {
                        let answer = service_fn(move |request| {
                            let shared = Arc::clone(&shared);
                            async move { Ok::<_, Infallible>(answer(&shared, &request)) }
                        });
                        let served = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .serve_connection(TokioIo::new(socket), answer);
                        if let Some(Err(error)) = stop.run_until_cancelled(served).await {
                            tracing::debug!(%error, "a connection of the model server broke during a copy");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection of the model server could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accepting).await;
}

fn answer(shared: &Arc<Shared>, request: &Request<Incoming>) -> Response<FrontBody> {
    let is_head = request.method() == Method::HEAD;
    if !is_head && request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let path = request.uri().path();
    if path == shared.manifest_path {
        let text = if is_head {
            Bytes::new()
        } else {
            shared.text.clone()
        };
        let mut response = Response::new(whole(text));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
        headers.insert(CONTENT_LENGTH, shared.text.len().into());
        return response;
    }
    let hex = path.strip_prefix(&shared.blobs_path).and_then(hex_of);
    let found = hex.and_then(|hex| shared.files.get_key_value(hex));
    match found {
        Some((hex, size)) => file(shared, (hex, *size), request),
        None => plain(StatusCode::NOT_FOUND),
    }
}

fn file(
    shared: &Arc<Shared>,
    (hex, size): (&str, u64),
    request: &Request<Incoming>,
) -> Response<FrontBody> {
    let range = request
        .headers()
        .get(RANGE)
        .and_then(|range| range.to_str().ok());
    let (part, status) = match wanted(range, size) {
        Wanted::Beyond => return plain(StatusCode::RANGE_NOT_SATISFIABLE),
        Wanted::Whole => ((0, size), StatusCode::OK),
        Wanted::Part(start, end) => ((start, end), StatusCode::PARTIAL_CONTENT),
    };
    let body = if request.method() == Method::HEAD {
        whole(Bytes::new())
    } else {
        Fetching::new(Arc::clone(shared), (hex, size), part, status).body()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, part.1.saturating_sub(part.0).into());
    if status == StatusCode::PARTIAL_CONTENT {
        let told = format!("bytes {}-{}/{size}", part.0, part.1.saturating_sub(1));
        if let Ok(told) = HeaderValue::try_from(told) {
            headers.insert(CONTENT_RANGE, told);
        }
    }
    response
}

fn whole(bytes: Bytes) -> FrontBody {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn plain(status: StatusCode) -> Response<FrontBody> {
    let mut response = Response::new(whole(Bytes::new()));
    *response.status_mut() = status;
    response
}
