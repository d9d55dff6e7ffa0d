//! Where models come from, for tests: serves a models directory as Ollama's registry does, and breaks off as told.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, yield_now};

use crate::upstream::ModelFiles;

/// What one frame carries.
const PIECE: usize = 8 << 10;

/// A registry. Stops when dropped.
pub struct ScriptedRegistry {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

struct Shared {
    files: ModelFiles,
    sent: AtomicU64,
    /// It breaks off once so many bytes of blobs were sent.
    most: Mutex<Option<u64>>,
}

impl ScriptedRegistry {
    /// Serves a models directory on a free local port.
    ///
    /// # Errors
    /// Fails when no port is to be had.
    pub async fn start(files: ModelFiles) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            files,
            sent: AtomicU64::new(0),
            most: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move {
                    let answer = service_fn(move |request| {
                        let shared = Arc::clone(&shared);
                        async move { Ok::<_, Infallible>(shared.answer(&request)) }
                    });
                    let io = TokioIo::new(socket);
                    // How it ends is the client's business.
                    drop(http1::Builder::new().serve_connection(io, answer).await);
                });
            }
        });
        Ok(Self {
            shared,
            address,
            accepting,
        })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many bytes of blobs were sent to who asked for a part.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Breaks off whatever is fetched once so many bytes of blobs were sent; never for `None`.
    pub fn break_off_at(&self, bytes: Option<u64>) {
        *self.shared.most.lock() = bytes;
    }
}

impl Drop for ScriptedRegistry {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

impl Shared {
    fn answer(self: &Arc<Self>, request: &Request<Incoming>) -> Reply {
        let path: Vec<&str> = request.uri().path().split('/').collect();
        match path.as_slice() {
            ["", "v2", namespace, model, "manifests", tag] => {
                let name = format!("{namespace}/{model}:{tag}");
                match std::fs::read(self.files.manifest(&name)) {
                    Ok(text) => Response::new(full(text)),
                    Err(_) => status(StatusCode::NOT_FOUND),
                }
            }
            ["", "v2", _, _, "blobs", digest] => {
                let hex = digest.strip_prefix("sha256:").unwrap_or_default();
                match std::fs::read(self.files.blob(hex)) {
                    Ok(blob) => self.blob(&blob.into(), request),
                    Err(_) => status(StatusCode::NOT_FOUND),
                }
            }
            _ => status(StatusCode::NOT_FOUND),
        }
    }

    fn blob(self: &Arc<Self>, blob: &Bytes, request: &Request<Incoming>) -> Reply {
        let range = request.headers().get(RANGE).and_then(|range| {
            let range = range.to_str().ok()?.strip_prefix("bytes=")?;
            let (first, last) = range.split_once('-')?;
            let (start, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            let end = last + 1;
            Some(start..end)
        });
        let Some(range) = range else {
            let body = if request.method() == Method::HEAD {
                full(Bytes::new())
            } else {
                full(blob.clone())
            };
            let mut reply = Response::new(body);
            reply
                .headers_mut()
                .insert(CONTENT_LENGTH, blob.len().into());
            return reply;
        };
        let told = format!("bytes {}-{}/{}", range.start, range.end - 1, blob.len());
        let part = blob.slice(range);
        let length = part.len();
        let pieces: Vec<Bytes> = part.chunks(PIECE).map(Bytes::copy_from_slice).collect();
        let shared = Arc::clone(self);
        let pieces = iter(pieces).then(move |piece| {
            let shared = Arc::clone(&shared);
            async move {
                // What was sent until now goes out before the next piece.
                yield_now().await;
                shared.piece(piece)
            }
        });
        let mut reply = Response::new(StreamBody::new(pieces).boxed_unsync());
        *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
        reply.headers_mut().insert(CONTENT_LENGTH, length.into());
        if let Ok(told) = told.parse() {
            reply.headers_mut().insert(CONTENT_RANGE, told);
        }
        reply
    }

    fn piece(&self, piece: Bytes) -> io::Result<Frame<Bytes>> {
        let most = *self.most.lock();
        let sent = self.sent.load(Ordering::Relaxed);
        if most.is_some_and(|most| sent >= most) {
            return Err(io::Error::other("it breaks off"));
        }
        self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Ok(Frame::data(piece))
    }
}

fn full(bytes: impl Into<Bytes>) -> UnsyncBoxBody<Bytes, io::Error> {
    let body = Full::new(bytes.into());
    body.map_err(|never| match never {}).boxed_unsync()
}

fn status(status: StatusCode) -> Reply {
    let mut reply = Response::new(full(Bytes::new()));
    *reply.status_mut() = status;
    reply
}
