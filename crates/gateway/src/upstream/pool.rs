//! Idle connections to nodes, kept per worker thread.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use primitives::{Clock, MonotonicTime, NodeId};

use super::{Dialer, Target, UpstreamBody, UpstreamError};

/// Idle connections kept per node and worker; more are closed.
const IDLE_PER_NODE: usize = 1024;
/// Idle connections older than this are closed.
const IDLE_FOR: Duration = Duration::from_secs(55);

pub(super) type Sender = SendRequest<Full<Bytes>>;

struct Idle {
    sender: Sender,
    since: MonotonicTime,
}

/// The connections of one worker.
pub(crate) struct Pool {
    idle: Mutex<HashMap<NodeId, Vec<Idle>>>,
    dialer: Arc<Dialer>,
    clock: Arc<dyn Clock>,
    me: Weak<Pool>,
}

/// A request to a node, cheap to send again.
pub(crate) struct UpstreamRequest<'a> {
    pub(crate) method: Method,
    /// Path and query below the node's base path.
    pub(crate) path: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Pool {
    /// Makes an empty pool.
    pub(crate) fn new(dialer: Arc<Dialer>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            idle: Mutex::new(HashMap::new()),
            dialer,
            clock,
            me: me.clone(),
        })
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// A kept connection that turns out to be closed is replaced by a fresh one: servers close idle connections at
    /// any time, and a request that met such a close was not begun.
    pub(crate) async fn send(
        &self,
        target: &Target,
        request: &UpstreamRequest<'_>,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        while let Some(mut sender) = self.checkout(target.node) {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.send_request(build(target, request)?).await {
                Ok(response) => return Ok(self.wrap(target.node, sender, response)),
                Err(error) if is_stale(&error) => {}
                Err(error) => return Err(UpstreamError::Broken(error)),
            }
        }
        let mut sender = self.dialer.connect(target).await?;
        sender.ready().await.map_err(UpstreamError::Broken)?;
        let response = sender
            .send_request(build(target, request)?)
            .await
            .map_err(UpstreamError::Broken)?;
        Ok(self.wrap(target.node, sender, response))
    }

    fn wrap(
        &self,
        node: NodeId,
        sender: Sender,
        response: Response<hyper::body::Incoming>,
    ) -> Response<UpstreamBody> {
        response.map(|incoming| UpstreamBody::new(incoming, node, sender, self.me.clone()))
    }

    fn checkout(&self, node: NodeId) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let list = idle.get_mut(&node)?;
        while let Some(entry) = list.pop() {
            if !entry.sender.is_closed() {
                return Some(entry.sender);
            }
        }
        None
    }

    /// Takes a connection back whose answer was read to the end.
    pub(super) fn checkin(&self, node: NodeId, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let since = self.clock.monotonic();
        let mut idle = self.idle.lock();
        let list = idle.entry(node).or_default();
        if list.len() < IDLE_PER_NODE {
            list.push(Idle { sender, since });
        }
    }

    /// Closes connections that were idle for too long, and forgets nodes without any.
    pub(crate) fn sweep(&self) {
        let now = self.clock.monotonic();
        self.idle.lock().retain(|_, list| {
            list.retain(|entry| !entry.sender.is_closed() && now.since(entry.since) < IDLE_FOR);
            !list.is_empty()
        });
    }
}

/// Tells whether a kept connection failed before the node began to answer.
fn is_stale(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed() || error.is_incomplete_message()
}

fn build(
    target: &Target,
    request: &UpstreamRequest<'_>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let uri: http::Uri = if target.base_path.is_empty() {
        http::Uri::try_from(request.path)?
    } else {
        http::Uri::try_from(format!("{}{}", target.base_path, request.path))?
    };
    let mut built = Request::new(Full::new(request.body.clone()));
    *built.method_mut() = request.method.clone();
    *built.uri_mut() = uri;
    let headers = built.headers_mut();
    headers.clone_from(&request.headers);
    headers.insert(header::HOST, target.authority.clone());
    if !request.body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
    if let Some(authorization) = &target.authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    Ok(built)
}
