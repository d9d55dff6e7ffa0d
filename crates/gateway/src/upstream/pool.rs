//! Idle connections to nodes, kept per worker thread.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use primitives::{Clock, MonotonicTime, NodeId};

use super::http1::{Connection, ExchangeError, request_head};
use super::{Dialer, ResponseHead, Target, UpstreamBody, UpstreamError};

/// Idle connections kept per node and worker; more are closed.
const IDLE_PER_NODE: usize = 1024;
/// Idle connections older than this are closed.
const IDLE_FOR: Duration = Duration::from_secs(55);

struct Idle {
    connection: Connection,
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

/// A node's answer: its head, and its body still to be read.
pub(crate) struct Response {
    pub(crate) head: ResponseHead,
    pub(crate) body: UpstreamBody,
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
    ) -> Result<Response, UpstreamError> {
        let head = request_head(
            &request.method,
            &target.base_path,
            request.path,
            &target.authority,
            target.authorization.as_ref(),
            &request.headers,
            request.body.len(),
        );
        while let Some(mut connection) = self.checkout(target.node) {
            match connection.exchange(&head, &request.body).await {
                Ok(answered) => return Ok(self.response(target.node, connection, answered)),
                Err(ExchangeError::Closed(_)) => {}
                Err(error) => return Err(UpstreamError::Broken(error)),
            }
        }
        let mut connection = self.dialer.connect(target).await?;
        let answered = connection
            .exchange(&head, &request.body)
            .await
            .map_err(UpstreamError::Broken)?;
        Ok(self.response(target.node, connection, answered))
    }

    fn response(&self, node: NodeId, connection: Connection, head: ResponseHead) -> Response {
        let body = UpstreamBody::new(connection, &head, node, self.me.clone());
        Response { head, body }
    }

    fn checkout(&self, node: NodeId) -> Option<Connection> {
        let mut idle = self.idle.lock();
        let list = idle.get_mut(&node)?;
        while let Some(mut entry) = list.pop() {
            if entry.connection.is_usable() {
                return Some(entry.connection);
            }
        }
        None
    }

    /// Takes a connection back whose answer was read to the end.
    pub(super) fn checkin(&self, node: NodeId, connection: Connection) {
        let since = self.clock.monotonic();
        let mut idle = self.idle.lock();
        let list = idle.entry(node).or_default();
        if list.len() < IDLE_PER_NODE {
            list.push(Idle { connection, since });
        }
    }

    /// Closes connections that were idle for too long, and forgets nodes without any.
    pub(crate) fn sweep(&self) {
        let now = self.clock.monotonic();
        self.idle.lock().retain(|_, list| {
            list.retain_mut(|entry| {
                entry.connection.is_usable() && now.since(entry.since) < IDLE_FOR
            });
            !list.is_empty()
        });
    }
}
