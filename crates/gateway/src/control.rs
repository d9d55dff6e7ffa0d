//! The bridge to the control plane: its routes run on their own runtime, so that a slow query never delays a token.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use http::{Request, Response};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt as _;

use crate::body::ReplyBody;
use crate::front::{DirectRoutes, DirectWorker, LingeringBody};

/// The control plane's routes and the runtime they run on.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    router: axum::Router,
    runtime: Handle,
    direct: Option<Arc<dyn DirectRoutes>>,
}

impl ControlPlane {
    /// Takes the routes for everything that is not inference.
    pub const fn new(router: axum::Router, runtime: Handle) -> Self {
        Self {
            router,
            runtime,
            direct: None,
        }
    }

    /// Has the workers answer some of these requests themselves.
    #[must_use]
    pub fn with_direct(mut self, direct: Arc<dyn DirectRoutes>) -> Self {
        self.direct = Some(direct);
        self
    }

    /// Makes the part of a worker that answers such requests.
    pub(crate) fn open_direct(&self) -> Option<Box<dyn DirectWorker>> {
        self.direct.as_ref().map(|direct| direct.open())
    }

    /// Answers a request that came over a connection.
    pub(crate) async fn call(
        &self,
        peer: SocketAddr,
        request: Request<LingeringBody>,
    ) -> Response<ReplyBody> {
        self.call_with_body(peer, request.map(axum::body::Body::new))
            .await
    }

    /// Answers a request whose body is at hand. A client that goes away ends the work.
    pub(crate) async fn call_with_body(
        &self,
        peer: SocketAddr,
        mut request: Request<axum::body::Body>,
    ) -> Response<ReplyBody> {
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = self.router.clone().oneshot(request);
        match AbortOnDropHandle::new(self.runtime.spawn(answer)).await {
            Ok(Ok(response)) => response.map(ReplyBody::Boxed),
            Ok(Err(never)) => match never {},
            Err(error) => {
                tracing::error!(%error, "a control-plane handler ended abnormally");
                let mut response = Response::new(ReplyBody::whole(
                    r#"{"type":"about:blank","title":"Internal error","status":500,"detail":"the request could not be finished: see the server's log"}"#,
                ));
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                response.headers_mut().insert(
                    http::header::CONTENT_TYPE,
                    http::HeaderValue::from_static("application/problem+json"),
                );
                response
            }
        }
    }
}
