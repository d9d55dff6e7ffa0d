//! The node that has the files: asked over TLS, where both sides show that they are of one installation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, HOST, RANGE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use primitives::Clock;
use tokio::time::timeout;

use crate::membership::Kept;
use crate::sharing::{MOST_MANIFEST_BYTES, Manifest, ModelName};
use crate::tls;

/// How long one address is tried.
const CONNECTING: Duration = Duration::from_secs(3);
/// How long the source may take to answer.
const ANSWERING: Duration = Duration::from_secs(20);
/// The most addresses that are tried.
const MOST_ADDRESSES: usize = 8;

/// Why the source gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NothingThere {
    /// It does not have it, or not for us: asking again is no use.
    Refused(String),
    /// It sends as much as it can.
    Busy,
    /// It is not reached, or the connection broke.
    Broken(String),
}

/// A node that offers a model.
pub(super) struct Source {
    node: String,
    addresses: Vec<String>,
    /// The address that worked last.
    first: AtomicUsize,
    manifest_path: String,
    blobs_path: String,
    kept: Arc<Kept>,
    clock: Arc<dyn Clock>,
}

impl Source {
    pub(super) fn new(
        node: &str,
        addresses: &[String],
        model: &ModelName,
        kept: Arc<Kept>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (manifest_path, blobs_path) = model.paths();
        Self {
            node: node.to_owned(),
            addresses: addresses.iter().take(MOST_ADDRESSES).cloned().collect(),
            first: AtomicUsize::new(0),
            manifest_path,
            blobs_path,
            kept,
            clock,
        }
    }

    /// Fetches the model's manifest, which must have the digest that is wanted.
    pub(super) async fn manifest(&self, digest: &str) -> Result<Manifest, NothingThere> {
        let answer = self.get(&self.manifest_path, None).await?;
        if answer.status() != StatusCode::OK {
            return Err(refused(&answer));
        }
        let body = Limited::new(answer.into_body(), MOST_MANIFEST_BYTES).collect();
        let text = timeout(ANSWERING, body)
            .await
            .map_err(|error| NothingThere::Broken(error.to_string()))?
            .map_err(|error| NothingThere::Broken(error.to_string()))?
            .to_bytes();
        let manifest = Manifest::read(text)
            .ok_or_else(|| NothingThere::Refused("its manifest cannot be read".to_owned()))?;
        if manifest.digest == digest {
            return Ok(manifest);
        }
        Err(NothingThere::Refused(format!(
            "its files are others by now: {} instead of {}",
            short(&manifest.digest),
            short(digest)
        )))
    }

    /// Fetches a part of a file of `size` bytes.
    pub(super) async fn part(
        &self,
        hex: &str,
        (start, end): (u64, u64),
        size: u64,
    ) -> Result<Incoming, NothingThere> {
        let path = format!("{}sha256:{hex}", self.blobs_path);
        let answer = self.get(&path, Some((start, end))).await?;
        let expected = format!("bytes {start}-{}/{size}", end.saturating_sub(1));
        let told = answer.headers().get(CONTENT_RANGE);
        match answer.status() {
            StatusCode::PARTIAL_CONTENT
                if told.is_some_and(|told| told.as_bytes() == expected.as_bytes()) =>
            {
                Ok(answer.into_body())
            }
            StatusCode::PARTIAL_CONTENT => Err(NothingThere::Refused(
                "it sends another part than was asked for".to_owned(),
            )),
            StatusCode::SERVICE_UNAVAILABLE => Err(NothingThere::Busy),
            _ => Err(refused(&answer)),
        }
    }

    async fn get(
        &self,
        path: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Response<Incoming>, NothingThere> {
        let config = tls::fetching(&self.kept.latest(), &self.node, &self.clock)
            .map_err(|error| NothingThere::Refused(error.to_string()))?;
        let mut why = "it tells no address".to_owned();
        let (first, count) = (self.first.load(Ordering::Relaxed), self.addresses.len());
        let turns = (0..count).map(|turn| (first + turn) % count);
        for (at, address) in turns.filter_map(|at| Some((at, self.addresses.get(at)?))) {
            let dialled = tls::connect_to_node(address, &self.node, config.clone());
            let stream = match timeout(CONNECTING, dialled).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    why = format!("not reached at {address}: {error}");
                    continue;
                }
                Err(_) => {
                    let seconds = CONNECTING.as_secs();
                    why = format!("not reached at {address} within {seconds} s");
                    continue;
                }
            };
            self.first.store(at, Ordering::Relaxed);
            let broken = |error: hyper::Error| NothingThere::Broken(agent_proto::deepest(&error));
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(broken)?;
            // Ends with the answer's body.
            tokio::spawn(connection);
            let mut request = Request::builder().uri(path).header(HOST, address);
            if let Some((start, end)) = range {
                let last = end.saturating_sub(1);
                request = request.header(RANGE, format!("bytes={start}-{last}"));
            }
            let request = request
                .body(Empty::<Bytes>::new())
                .map_err(|error| NothingThere::Refused(error.to_string()))?;
            return timeout(ANSWERING, sender.send_request(request))
                .await
                .map_err(|_| {
                    NothingThere::Broken(format!("no answer within {} s", ANSWERING.as_secs()))
                })?
                .map_err(broken);
        }
        Err(NothingThere::Broken(why))
    }
}

fn refused(answer: &Response<Incoming>) -> NothingThere {
    NothingThere::Refused(match answer.status() {
        StatusCode::NOT_FOUND => "it does not offer the files, or not any more".to_owned(),
        status => format!("it answers {status}"),
    })
}

fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}
