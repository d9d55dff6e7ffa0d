//! Requests that the program itself makes for somebody, as those that were accepted to be answered later. They have come in by another
//! door; from here on they are limited, wait, are routed and are booked as any other.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use dialects::{ApiError, Operation, decode_request, read_head};
use http::Response;
use identity::limits::Reservation;
use identity::{Principal, PriorityClass};
use primitives::{ErrorKind, NodeId};

use super::inference::{Entered, Presented, Refusal, class_of, let_in, serve};
use super::reply::Reply;
use super::{count, may_infer};
use crate::body_memory::{BodyShare, RequestBody};
use crate::limits;
use crate::relay::outcome_of;
use crate::shared::Worker;
use crate::splitting::SplitCaller;

/// A request on somebody's behalf.
#[derive(Clone, Debug)]
pub struct InsideRequest {
    /// On whose behalf, as they are now.
    pub principal: Principal,
    /// Where they asked from.
    pub address: IpAddr,
    /// The operation, whose dialect the body and the answer have.
    pub operation: Operation,
    /// The class that is wanted; the caller's own ceiling holds.
    pub class: PriorityClass,
    /// The request's body.
    pub body: Bytes,
    /// The only node that may serve it; without one, routing chooses.
    pub node: Option<NodeId>,
}

/// The way into the data plane from within. Clones share everything; requests run on the caller's runtime.
#[derive(Clone)]
pub struct Inside {
    worker: Arc<Worker>,
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}

impl Inside {
    pub(crate) const fn new(worker: Arc<Worker>) -> Self {
        Self { worker }
    }

    /// Looks at a request as far as can be told now, and returns the name of the model that it would be for.
    ///
    /// # Errors
    /// What the client of a live request would hear: the caller may not, the body is wrong, there is no such model.
    pub fn check(&self, request: &InsideRequest) -> Result<Arc<str>, ApiError> {
        may_infer(&request.principal)?;
        let operation = request.operation;
        decode_request(operation, &request.body)?;
        let head = read_head(operation, &request.body)?;
        let model = head.model.as_deref().filter(|name| !name.trim().is_empty());
        let model = model.ok_or_else(|| ApiError::model_missing(operation))?;
        let table = self.worker.shared.routes.load();
        let caller = SplitCaller::new(&request.principal, request.address);
        let found = table.find(model, caller);
        found
            .map(|found| found.route)
            .filter(|route| {
                request.principal.may_use(&route.name) || request.principal.may_use(model)
            })
            .map(|route| route.name.clone())
            .ok_or_else(|| ApiError::model_not_found(operation, model))
    }

    /// Answers a request as a client would hear it. Dropping the answer ends the work.
    pub async fn infer(&self, request: InsideRequest) -> Response<axum::body::Body> {
        let worker = &self.worker;
        let shared = &worker.shared;
        let operation = request.operation;
        let received_at = shared.clock.now();
        let arrived = shared.clock.monotonic();
        let id = worker.request_id(received_at);
        let peer = SocketAddr::new(request.address, 0);
        let entered = match self.enter(request).await {
            Ok(entered) => entered,
            Err(refusal) => {
                let Refusal { error, limits } = *refusal;
                count(worker, operation.as_str(), outcome_of(&error));
                let mut response = Reply::new(id).error(operation.dialect(), &error);
                limits::tell(&mut response, &limits);
                return response.map(axum::body::Body::new);
            }
        };
        let told = entered.reservation.as_ref().map(Reservation::headers);
        let now = (id, received_at, arrived);
        let mut response = serve(worker, peer, operation, entered, now, false).await;
        if let Some(told) = told {
            limits::tell(&mut response, &told);
        }
        response.map(axum::body::Body::new)
    }

    async fn enter(&self, request: InsideRequest) -> Result<Entered, Box<Refusal>> {
        let shared = &self.worker.shared;
        may_infer(&request.principal)?;
        let mut share = BodyShare::new(&shared.body_rules.memory);
        if !share.grow(request.body.len()) {
            let full = "the bodies of requests under way hold all the room there is (server.body_memory): try again soon";
            return Err(ApiError::new(ErrorKind::Unavailable, full).into());
        }
        let presented = Presented {
            class: class_of(&request.principal, request.class),
            principal: request.principal,
            body: RequestBody::new(request.body, share),
            traceparent: None,
            hops: shared.instance_header.clone(),
            only: request.node,
        };
        let_in(&self.worker, request.address, request.operation, presented).await
    }
}
