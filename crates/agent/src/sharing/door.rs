//! The listener for other nodes: TLS with certificates of the installation, then what a registry serves for a pull.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_proto::{FILES, node_of};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE, RETRY_AFTER,
};
use http::response::Builder;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Sharing;
use super::body::{SharedBody, open, part, whole};
use super::model_name::{ModelName, Wanted, hex_of, wanted};
use crate::membership::Kept;
use crate::tls;

/// Connections at the same time: those beyond the transfers are told to come again.
const MOST_CONNECTIONS: usize = 128;
/// The longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection over which nothing was asked or taken for so long is closed.
const SILENCE: Duration = Duration::from_mins(2);
/// What is told at the bound.
const COME_AGAIN_S: u64 = 1;
/// The pause after a connection that could not be accepted, for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a manifest is called.
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

impl Sharing {
    /// Lets other nodes fetch what is offered to them, until `stop` is cancelled.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        kept: Arc<Kept>,
        stop: CancellationToken,
    ) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let tasks = TaskTracker::new();
        let accepting = async {
            loop {
                // Beyond the bound further ones wait in the system's own queue.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                match listener.accept().await {
                    Ok((socket, peer)) => {
                        let (sharing, kept) = (Arc::clone(&self), Arc::clone(&kept));
                        let stop = stop.clone();
                        tasks.spawn(async move {
                            let met = sharing.meet(socket, &kept);
                            if let Some(Err(why)) = stop.run_until_cancelled(met).await {
                                tracing::debug!(%peer, why, "a connection for files was closed");
                            }
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection of another node could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accepting).await;
        tasks.close();
        tasks.wait().await;
    }

    async fn meet(self: Arc<Self>, socket: TcpStream, kept: &Kept) -> Result<(), String> {
        let told = |error: &dyn std::error::Error| error.to_string();
        socket.set_nodelay(true).map_err(|error| told(&error))?;
        // The certificate of the moment: it is renewed while the agent runs.
        let config =
            tls::sharing(&kept.latest(), &self.clock).map_err(|error| error.to_string())?;
        let stream = timeout(
            HANDSHAKE,
            TlsAcceptor::from(Arc::new(config)).accept(socket),
        )
        .await
        .map_err(|error| told(&error))?
        .map_err(|error| told(&error))?;
        let node = {
            let (_, connection) = stream.get_ref();
            if connection.alpn_protocol() != Some(FILES) {
                return Err("it did not ask for files".to_owned());
            }
            let shown = connection.peer_certificates().unwrap_or_default();
            let node: Option<Arc<str>> = shown.first().and_then(node_of).map(Arc::from);
            node.ok_or("its certificate names no node")?
        };
        let taken = Arc::new(AtomicU64::new(0));
        let answer = {
            let (sharing, taken) = (self, Arc::clone(&taken));
            service_fn(move |request: Request<Incoming>| {
                taken.fetch_add(1, Ordering::Relaxed);
                let (sharing, node) = (Arc::clone(&sharing), Arc::clone(&node));
                let taken = Arc::clone(&taken);
                async move { Ok::<_, Infallible>(sharing.answer(&node, &request, taken).await) }
            })
        };
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), answer);
        tokio::select! {
            served = served => served.map_err(|error| told(&error)),
            () = silence(&taken) => Err("nothing was taken for too long".to_owned()),
        }
    }

    async fn answer(
        self: Arc<Self>,
        node: &str,
        request: &Request<Incoming>,
        taken: Arc<AtomicU64>,
    ) -> Response<SharedBody> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        }
        let is_head = request.method() == Method::HEAD;
        let now = self.clock.now();
        let mut parts = request.uri().path().split('/').skip(1);
        let path: [&str; 6] = std::array::from_fn(|_| parts.next().unwrap_or_default());
        let ["v2", host, namespace, model, kind, last] = path else {
            return unknown();
        };
        if parts.next().is_some() {
            return unknown();
        }
        match kind {
            "manifests" => {
                let manifest = ModelName::of_parts([host, namespace, model, last])
                    .and_then(|name| self.offers.lock().manifest(node, &name, now));
                let Some(manifest) = manifest else {
                    return unknown();
                };
                let text = if is_head {
                    Bytes::new()
                } else {
                    manifest.text.clone()
                };
                let head = Response::builder()
                    .header(CONTENT_TYPE, MANIFEST)
                    .header(CONTENT_LENGTH, manifest.text.len());
                made(head, whole(text))
            }
            "blobs" => {
                let Some(hex) = hex_of(last) else {
                    return unknown();
                };
                let size = {
                    let offers = self.offers.lock();
                    offers.file(node, [host, namespace, model], hex, now)
                };
                match size {
                    Some(size) => self.file((hex, size), request, taken).await,
                    None => unknown(),
                }
            }
            _ => unknown(),
        }
    }

    async fn file(
        self: Arc<Self>,
        (hex, size): (&str, u64),
        request: &Request<Incoming>,
        taken: Arc<AtomicU64>,
    ) -> Response<SharedBody> {
        let range = request
            .headers()
            .get(RANGE)
            .and_then(|range| range.to_str().ok());
        let (head, (start, end)) = match wanted(range, size) {
            Wanted::Beyond => {
                let head = Response::builder()
                    .status(StatusCode::RANGE_NOT_SATISFIABLE)
                    .header(CONTENT_RANGE, format!("bytes */{size}"));
                return made(head, whole("the file has no such part"));
            }
            Wanted::Whole => (Response::builder(), (0, size)),
            Wanted::Part(start, end) => {
                let last = end.saturating_sub(1);
                let head = Response::builder()
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(CONTENT_RANGE, format!("bytes {start}-{last}/{size}"));
                (head, (start, end))
            }
        };
        let head = head
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(ACCEPT_RANGES, "bytes")
            .header(CONTENT_LENGTH, end.saturating_sub(start));
        if request.method() == Method::HEAD {
            return made(head, whole(""));
        }
        let Ok(place) = Arc::clone(&self.transfers).try_acquire_owned() else {
            let head = Response::builder()
                .status(StatusCode::SERVICE_UNAVAILABLE)
                .header(RETRY_AFTER, COME_AGAIN_S);
            return made(
                head,
                whole("this node sends as many files as it can: try again"),
            );
        };
        let path = self.models.join("blobs").join(format!("sha256-{hex}"));
        let sent = async {
            let file = open(&path, size).await?;
            part(file, (start, end), Arc::clone(&self), taken, place).await
        };
        match sent.await {
            Ok(body) => made(head, body),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a file that another node may have cannot be read");
                refusal(StatusCode::GONE, "the file cannot be read here")
            }
        }
    }
}

/// Waits until a connection was silent for too long.
async fn silence(taken: &AtomicU64) {
    let mut before = taken.load(Ordering::Relaxed);
    loop {
        sleep(SILENCE).await;
        let now = taken.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

/// Whether something is not there or not for this node to see is not told.
fn unknown() -> Response<SharedBody> {
    refusal(StatusCode::NOT_FOUND, "nothing of that name is offered")
}

fn refusal(status: StatusCode, why: &'static str) -> Response<SharedBody> {
    made(Response::builder().status(status), whole(why))
}

fn made(head: Builder, body: SharedBody) -> Response<SharedBody> {
    head.body(body).unwrap_or_else(|_| {
        let mut response = Response::new(whole(""));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
