//! Requests that a worker answers on its own thread, past the control plane's routes: small ones that come in great numbers.
//!
//! The control plane answers on another thread, and whatever it answers passes layers that most such requests have no use for. Who
//! answers here must never compute for long, nor block: the worker's streams wait meanwhile.

use std::fmt;
use std::pin::Pin;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};

use super::LingeringBody;
use crate::body::ReplyBody;
use crate::shared::Worker;

/// An answer in the making. Dropped when its client goes away.
pub type DirectAnswer = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// Who answers requests on the threads of the workers.
pub trait DirectRoutes: fmt::Debug + Send + Sync {
    /// Makes the part of one worker.
    fn open(&self) -> Box<dyn DirectWorker>;
}

/// The part of one worker.
pub trait DirectWorker: Send + Sync {
    /// Tells whether it answers such a request. All others go to the control plane's routes.
    fn takes(&self, method: &Method, path: &str, headers: &HeaderMap) -> bool;

    /// Answers a request that it takes.
    fn answer(&self, request: Request<Body>) -> DirectAnswer;

    /// Tells whether such a request would only be refused now because there are too many, and takes note that it is. Its credential was not
    /// looked at, nor its body.
    fn turns_away(&self, method: &str, path: &str) -> bool;

    /// Makes the answer to all requests that are turned away.
    fn turned_away(&self) -> Response<Bytes>;

    /// Does what the worker's requests have in common, for as long as the worker lives.
    fn work(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Finds who answers a request directly.
pub(super) fn find<'a>(
    worker: &'a Worker,
    request: &Request<LingeringBody>,
) -> Option<&'a dyn DirectWorker> {
    let direct = worker.direct.as_deref()?;
    let path = request.uri().path();
    direct
        .takes(request.method(), path, request.headers())
        .then_some(direct)
}

/// Has a request answered, as the control plane would.
pub(super) async fn answer(
    worker: &Worker,
    direct: &dyn DirectWorker,
    request: Request<LingeringBody>,
) -> Response<ReplyBody> {
    let id = worker.request_id(worker.shared.clock.now());
    let transport = request.extensions().get().copied();
    let mut response = direct.answer(request.map(Body::new)).await;
    web::stamp(response.headers_mut(), id, transport);
    response.map(ReplyBody::whole)
}
