//! Where requests come in: finds out what is wanted and who wants it, and hands over to the part that does it.

mod body_in;
mod cors;
mod direct;
mod form;
mod forward;
mod forwarded;
mod inference;
mod inside;
mod lingering;
pub(crate) mod listing;
pub(crate) mod reply;
mod root;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dialects::{ApiError, Dialect, Operation};
use http::{Method, Request, Response, header};
use identity::limits::Reservation;
use identity::{Principal, PrincipalKind, presented_credential};
use primitives::{Classify as _, ErrorKind, RequestId};
use web::Hops;

use self::reply::Reply;
use crate::body::ReplyBody;
use crate::limits;
use crate::model_commands;
use crate::record::Outcome;
use crate::relay::outcome_of;
use crate::routes::QueueWindow;
use crate::shared::Worker;

pub(crate) use self::body_in::{BodyRules, read_body};
pub use self::direct::{DirectAnswer, DirectRoutes, DirectWorker};
#[cfg(test)]
pub(crate) use self::inference::asked;
pub(crate) use self::inference::other_model;
pub use self::inside::{Inside, InsideRequest};
pub(crate) use self::lingering::LingeringBody;

/// One request on its way in.
pub(crate) struct Visit<'a> {
    pub(crate) worker: &'a Arc<Worker>,
    pub(crate) id: RequestId,
    pub(crate) peer: SocketAddr,
    /// In which dialect the client expects errors.
    pub(crate) dialect: Dialect,
    /// The gateways that the request has passed, told to nodes.
    pub(crate) hops: http::HeaderValue,
}

/// Answers any request.
pub(crate) async fn answer(
    worker: &Arc<Worker>,
    peer: SocketAddr,
    request: Request<LingeringBody>,
) -> Response<ReplyBody> {
    let peer = SocketAddr::new(
        worker.shared.proxies.client(peer.ip(), request.headers()),
        peer.port(),
    );
    let path = request.uri().path();
    let operation = if request.method() == Method::POST {
        Operation::from_path(path)
    } else {
        None
    };
    // The rare ways are on the heap, so that the common one does not carry the room they need.
    if operation.is_none() && is_control_plane(path) {
        return match direct::find(worker, &request) {
            Some(direct) => Box::pin(direct::answer(worker, direct, request)).await,
            None => Box::pin(control(worker, peer, request)).await,
        };
    }
    let origin = cors::allowed_origin(request.headers(), &worker.shared.allowed_origins);
    let mut response = match (operation, &origin) {
        (Some(operation), _) => inference::infer(worker, peer, operation, request).await,
        (None, Some(origin)) if cors::is_preflight(&request) => {
            let id = worker.request_id(worker.shared.clock.now());
            return cors::permission(id, request.headers(), origin.clone());
        }
        (None, _) => {
            let mut response = Box::pin(other(worker, peer, request)).await;
            let instance = worker.shared.instance_header.clone();
            response
                .headers_mut()
                .insert(web::INSTANCE_HEADER, instance);
            response
        }
    };
    if let Some(origin) = origin {
        cors::let_read(&mut response, origin);
    }
    response
}

/// Answers what is neither inference nor the control plane's.
async fn other(
    worker: &Arc<Worker>,
    peer: SocketAddr,
    request: Request<LingeringBody>,
) -> Response<ReplyBody> {
    let path = request.uri().path();
    let method = request.method();
    let id = worker.request_id(worker.shared.clock.now());
    let dialect = Dialect::of_path(path);
    let hops = match leaving_hops(worker, request.headers()) {
        Ok(hops) => hops,
        Err(error) => return Reply::new(id).error(dialect, &error),
    };
    let visit = Visit {
        worker,
        id,
        peer,
        dialect,
        hops,
    };
    if path == "/" {
        return root::answer(&visit, request).await;
    }
    let principal = match visit.authenticate(&request) {
        Ok(principal) => principal,
        Err(error) => return visit.refuse(&error),
    };
    let answered = match Command::of(method, path) {
        Some(Command::Listing(listing)) => {
            listing::answer(&visit, listing, &principal, request).await
        }
        Some(Command::Model(command)) => {
            model_commands::answer(&visit, command, &principal, request).await
        }
        Some(Command::Unknown) => match may_infer(&principal) {
            Ok(()) => {
                // How many tokens it will use, nobody here can tell.
                let reserved = worker.shared.reserve(&principal, peer.ip(), 0).await;
                let (mut response, told) = match &reserved {
                    Ok(reservation) => (
                        forward::answer(&visit, &principal, request).await,
                        reservation.as_ref().map(Reservation::headers),
                    ),
                    Err(limited) => {
                        forwarded::turn_away(&visit, &limited.error);
                        (visit.refuse(&limited.error), Some(limited.headers))
                    }
                };
                if let Some(told) = told {
                    limits::tell(&mut response, &told);
                }
                Ok(response)
            }
            Err(error) => Err(error),
        },
        None => return unroutable(&visit, method, path),
    };
    answered.unwrap_or_else(|error| visit.refuse(&error))
}

/// Everything that is neither inference nor a model command of the Ollama dialect.
enum Command {
    Listing(listing::Listing),
    Model(model_commands::ModelCommand),
    /// A POST route that we do not know: perhaps a new feature of the node's server.
    Unknown,
}

impl Command {
    fn of(method: &Method, path: &str) -> Option<Self> {
        if let Some(listing) = listing::Listing::of(method, path) {
            return Some(Self::Listing(listing));
        }
        if let Some(command) = model_commands::ModelCommand::of(method, path) {
            return Some(Self::Model(command));
        }
        (method == Method::POST && forward::may_forward(path)).then_some(Self::Unknown)
    }
}

impl Visit<'_> {
    /// Decides who asks, from the snapshot.
    pub(crate) fn authenticate(
        &self,
        request: &Request<LingeringBody>,
    ) -> Result<Principal, ApiError> {
        authenticate(self.worker, request.headers())
    }

    /// Answers with an error in the client's dialect.
    pub(crate) fn refuse(&self, error: &ApiError) -> Response<ReplyBody> {
        Reply::new(self.id).error(self.dialect, error)
    }
}

/// Decides who presents these headers, from the snapshot.
pub(crate) fn authenticate(
    worker: &Worker,
    headers: &http::HeaderMap,
) -> Result<Principal, ApiError> {
    let shared = &worker.shared;
    let presented = presented_credential(headers);
    let principal = shared
        .identity
        .snapshot()
        .authenticate(presented.as_deref(), shared.clock.now())
        .map_err(|error| {
            ApiError::new(ErrorKind::Unauthenticated, error.public_message())
                .with_code("invalid_api_key")
        })?;
    // Without a credential only the browser's word tells a page of this machine from any page of the web.
    if matches!(principal.kind, PrincipalKind::Anonymous) && !shared.allowed_origins.trusts(headers)
    {
        return Err(ApiError::new(
            ErrorKind::Forbidden,
            "requests of other web sites are not served without a key: create one with `remuda key create`, or allow the site in server.allowed_origins",
        ));
    }
    Ok(principal)
}

/// Refuses who may look but not have models answer.
fn may_infer(principal: &Principal) -> Result<(), ApiError> {
    if principal.may_infer() {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorKind::Forbidden,
        "this key or person may look, but not use models: ask an administrator for the role `user`",
    ))
}

/// Refuses a request that has come in a ring of gateways; returns what the next node must be told.
fn leaving_hops(worker: &Worker, headers: &http::HeaderMap) -> Result<http::HeaderValue, ApiError> {
    let shared = &worker.shared;
    if !headers.contains_key(web::HOPS_HEADER) {
        return Ok(shared.instance_header.clone());
    }
    let here = shared.registry.instance();
    Hops::arriving(headers, here)
        .map(|hops| hops.leaving(here))
        .map_err(|error| ApiError::new(error.kind(), error.public_message()))
}

/// Notes a client's request that ended before it had a model to be booked on. It leaves a line and a count, but no record: whoever sends
/// noise must not fill the database.
fn turned_away(
    worker: &Worker,
    id: RequestId,
    client: IpAddr,
    operation: &'static str,
    error: &ApiError,
) {
    let outcome = outcome_of(error);
    count(worker, operation, outcome);
    tracing::info!(target: "remuda::request", %id, %client, operation, status = error.kind.status(), outcome = outcome.as_str(), error = error.message.as_str(), "request");
}

/// Counts a request that ended before it had a model to be booked on.
pub(crate) fn count(worker: &Worker, operation: &'static str, outcome: Outcome) {
    let shared = &worker.shared;
    shared.pulse.note_refused(outcome, shared.clock.now());
    shared.metrics.operation(operation, outcome).inc();
}

fn is_control_plane(path: &str) -> bool {
    const EXACT: [&str; 7] = [
        "/health",
        "/metrics",
        "/ui",
        "/docs",
        "/ws",
        "/v1/files",
        "/v1/batches",
    ];
    const BELOW: [&str; 9] = [
        "/api/v1/",
        "/health/",
        "/ui/",
        "/docs/",
        "/rpc/",
        "/ws/",
        "/.well-known/",
        "/v1/files/",
        "/v1/batches/",
    ];
    EXACT.contains(&path)
        || path == "/api/v1"
        || BELOW.iter().any(|prefix| path.starts_with(prefix))
}

async fn control(
    worker: &Arc<Worker>,
    peer: SocketAddr,
    mut request: Request<LingeringBody>,
) -> Response<ReplyBody> {
    let id = worker.request_id(worker.shared.clock.now());
    request.extensions_mut().insert(id);
    request
        .extensions_mut()
        .insert(QueueWindow(worker.shared.clone()));
    worker.shared.control.call(peer, request).await
}

/// Says what is wrong with a path or method. Known paths answer other methods with 405.
fn unroutable(visit: &Visit<'_>, method: &Method, path: &str) -> Response<ReplyBody> {
    let methods = allowed(path);
    if methods.is_empty() {
        let error = ApiError::new(
            ErrorKind::NotFound,
            "there is no such route here: check the path",
        );
        return visit.refuse(&error.with_code("unknown_url"));
    }
    let mut reply = visit.refuse(&ApiError::new(
        ErrorKind::MethodNotAllowed,
        format!("{method} is not a method of this path: use {methods}"),
    ));
    if let Ok(methods) = http::HeaderValue::try_from(methods) {
        reply.headers_mut().insert(header::ALLOW, methods);
    }
    reply
}

/// Lists the methods that a path knows, as in `Allow`.
fn allowed(path: &str) -> String {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::DELETE].map(|method| {
        let is_known = (method == Method::POST && Operation::from_path(path).is_some())
            || listing::Listing::of(&method, path).is_some()
            || model_commands::ModelCommand::of(&method, path).is_some();
        is_known.then_some(method)
    });
    let known: Vec<_> = known.iter().flatten().map(Method::as_str).collect();
    known.join(", ")
}

/// Tells whether the client accepts trailers.
fn accepts_trailers(request: &Request<LingeringBody>) -> bool {
    request
        .headers()
        .get(header::TE)
        .and_then(|te| te.to_str().ok())
        .is_some_and(|te| {
            te.split(',')
                .any(|t| t.trim().eq_ignore_ascii_case("trailers"))
        })
}
