//! The way of an inference request, from the first step to the last.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dialects::{ApiError, Dialect, Head, Operation, Task, read_head};
use http::{HeaderMap, HeaderName, Request, Response};
use identity::limits::{LimitHeaders, Reservation};
use identity::{Principal, PriorityClass};
use primitives::{MonotonicTime, NodeId, RequestId, Timestamp};
use scheduling::block_hashes;
use scheduling::queue::Class;

use super::reply::Reply;
use super::{
    LingeringBody, accepts_trailers, authenticate, leaving_hops, may_infer, read_body, turned_away,
};
use crate::body::ReplyBody;
use crate::body_memory::RequestBody;
use crate::coalescing;
use crate::exchange::{Arrival, Asked, Exchange};
use crate::fleet_view::{Found, Route};
use crate::limits::{self, Limited};
use crate::record::SplitRecord;
use crate::relay::Relay;
use crate::routing::EXPECTED_COMPLETION;
use crate::shared::{InFlight, Worker};
use crate::sharing;
use crate::splitting::SplitCaller;

/// The header in which a client says how important a request is.
const PRIORITY: HeaderName = HeaderName::from_static("x-remuda-priority");

/// Serves one inference request.
pub(crate) async fn infer(
    worker: &Arc<Worker>,
    peer: SocketAddr,
    operation: Operation,
    request: Request<LingeringBody>,
) -> Response<ReplyBody> {
    let clock = &worker.shared.clock;
    let received_at = clock.now();
    let arrived = clock.monotonic();
    let id = worker.request_id(received_at);
    let trailers = accepts_trailers(&request);
    let entered = match enter(worker, peer, operation, request).await {
        Ok(entered) => entered,
        Err(refusal) => {
            let Refusal { error, limits } = *refusal;
            turned_away(worker, id, peer.ip(), operation.as_str(), &error);
            let mut response = Reply::new(id).error(operation.dialect(), &error);
            limits::tell(&mut response, &limits);
            return response;
        }
    };
    let told = entered.reservation.as_ref().map(Reservation::headers);
    let mut response = serve(
        worker,
        peer,
        operation,
        entered,
        (id, received_at, arrived),
        trailers,
    )
    .await;
    if let Some(told) = told {
        limits::tell(&mut response, &told);
    }
    response
}

/// Serves a request that has passed the door.
pub(super) async fn serve(
    worker: &Arc<Worker>,
    peer: SocketAddr,
    operation: Operation,
    entered: Entered,
    (id, received_at, arrived): (RequestId, Timestamp, MonotonicTime),
    trailers: bool,
) -> Response<ReplyBody> {
    let circle = sharing::circle(&entered.principal);
    let arrival = Arrival {
        id,
        operation,
        principal: entered.principal,
        peer,
        received_at,
        arrived,
        traceparent: entered.traceparent,
        hops: entered.hops,
        class: entered.class,
        reservation: entered.reservation,
        split: entered.split,
    };
    let mut exchange = Box::new(Exchange::new(
        worker.clone(),
        arrival,
        entered.in_flight,
        entered.body,
        entered.asked,
        entered.route,
    ));
    if let Err(error) = entered.refused {
        exchange.refuse(&error);
        return Reply::new(id).error(operation.dialect(), &error);
    }
    worker.shared.live.retries.lock().deposit(arrived);
    // Loading a model is answered in one piece, stream or not.
    let one_piece = exchange.asked.empty_prompt && operation.dialect() == Dialect::Ollama;
    exchange.asked.stream &= !one_piece;
    if one_piece {
        exchange.asked.residency = exchange
            .canonical()
            .ok()
            .and_then(dialects::Request::residency);
    }
    if let Some(shareable) = sharing::shareable(circle, &exchange) {
        return sharing::answer(exchange, shareable, trailers).await;
    }
    if exchange.asked.stream {
        stream(exchange, trailers).await
    } else {
        whole(exchange).await
    }
}

/// What a caller who is known brings.
pub(super) struct Presented {
    pub(super) principal: Principal,
    pub(super) body: RequestBody,
    pub(super) traceparent: Option<http::HeaderValue>,
    pub(super) hops: http::HeaderValue,
    pub(super) class: Class,
    /// The only node that may serve it.
    pub(super) only: Option<NodeId>,
}

/// What is known when a request has passed the door.
pub(super) struct Entered {
    principal: Principal,
    in_flight: InFlight,
    body: RequestBody,
    asked: Asked,
    route: Arc<Route>,
    traceparent: Option<http::HeaderValue>,
    hops: http::HeaderValue,
    class: Class,
    pub(super) reservation: Option<Reservation>,
    /// What a split chose for the caller.
    split: Option<Arc<SplitRecord>>,
    /// A refusal that is worth a record: the caller is known and so is what was asked.
    refused: Result<(), ApiError>,
}

/// A request that did not pass the door.
pub(super) struct Refusal {
    pub(super) error: ApiError,
    pub(super) limits: LimitHeaders,
}

impl From<ApiError> for Box<Refusal> {
    fn from(error: ApiError) -> Self {
        Self::new(Refusal {
            error,
            limits: LimitHeaders::default(),
        })
    }
}

impl From<Box<Limited>> for Box<Refusal> {
    fn from(limited: Box<Limited>) -> Self {
        Self::new(Refusal {
            error: limited.error,
            limits: limited.headers,
        })
    }
}

/// Authenticates, reads and admits a request. Errors here leave a log line and a count, but no record: whoever sends
/// noise must not fill the database.
async fn enter(
    worker: &Arc<Worker>,
    peer: SocketAddr,
    operation: Operation,
    request: Request<LingeringBody>,
) -> Result<Entered, Box<Refusal>> {
    let shared = &worker.shared;
    let principal = authenticate(worker, request.headers())?;
    may_infer(&principal)?;
    let hops = leaving_hops(worker, request.headers())?;
    let class = priority(&principal, request.headers())?;
    let traceparent = request.headers().get("traceparent").cloned();
    let body = read_body(request, &shared.body_rules).await?;
    let presented = Presented {
        principal,
        body,
        traceparent,
        hops,
        class,
        only: None,
    };
    let_in(worker, peer.ip(), operation, presented).await
}

/// Admits a request whose caller is known and whose body is at hand.
pub(super) async fn let_in(
    worker: &Arc<Worker>,
    address: IpAddr,
    operation: Operation,
    presented: Presented,
) -> Result<Entered, Box<Refusal>> {
    let shared = &worker.shared;
    let Presented {
        principal,
        body,
        traceparent,
        hops,
        class,
        only,
    } = presented;
    let in_flight = shared.admit()?;
    let head = read_head(operation, &body)?;
    let Some(model) = head.model.as_deref().filter(|m| !m.trim().is_empty()) else {
        return Err(ApiError::model_missing(operation).into());
    };
    if head.has_empty_prompt && operation.dialect() != Dialect::Ollama {
        // Some servers answer to nothing at all; the dialect says that it is a mistake.
        dialects::decode_request(operation, &body)?;
    }
    let found = {
        let table = shared.routes.load();
        match only {
            // Neither another model nor another node would do.
            Some(_) => table.model(&cluster::model_key(model)).map(|route| Found {
                route: route.clone(),
                split: None,
                only,
            }),
            None => table.find(model, SplitCaller::new(&principal, address)),
        }
    };
    let mut refused = Ok(());
    let Found { route, split, only } = found.unwrap_or_else(|| {
        refused = Err(ApiError::model_not_found(operation, model));
        Found {
            route: Arc::new(Route::unknown(model)),
            split: None,
            only,
        }
    });
    if !principal.may_use(&route.name) && !principal.may_use(model) {
        // Whether the model exists is not for this key to know.
        refused = Err(ApiError::model_not_found(operation, model));
    }
    let asked = Asked {
        only,
        ..asked(worker, operation, &head, model, &route)
    };
    let reservation = match &refused {
        Ok(()) => {
            let tokens = expected_tokens(&asked);
            shared.reserve(&principal, address, tokens).await?
        }
        // Asking for what there is not costs a request, too.
        Err(_) => shared.reserve(&principal, address, 0).await?,
    };
    Ok(Entered {
        principal,
        in_flight,
        body,
        asked,
        route,
        traceparent,
        hops,
        class,
        reservation,
        split,
        refused,
    })
}

/// Returns the class of a request: what it asks for, within what its caller may have.
fn priority(principal: &Principal, headers: &HeaderMap) -> Result<Class, ApiError> {
    let wanted = match headers.get(PRIORITY) {
        None => PriorityClass::Default,
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| PriorityClass::from_name(text.trim()))
            .ok_or_else(|| {
                let allowed = PriorityClass::ALL.map(PriorityClass::as_str).join(", ");
                ApiError::invalid(format!("{PRIORITY} must be one of {allowed}"))
            })?,
    };
    Ok(class_of(principal, wanted))
}

/// Returns the class that a caller gets who wants this one.
pub(super) fn class_of(principal: &Principal, wanted: PriorityClass) -> Class {
    match principal.priority_of(wanted) {
        PriorityClass::Interactive => Class::Interactive,
        PriorityClass::Default => Class::Default,
        PriorityClass::Batch => Class::Batch,
    }
}

pub(crate) fn asked(
    worker: &Worker,
    operation: Operation,
    head: &Head<'_>,
    model: &str,
    route: &Route,
) -> Asked {
    let mut prefix = Vec::new();
    // With one replica there is nothing to prefer.
    if route.replicas.len() > 1 {
        block_hashes(
            worker.shared.prefix_seed,
            &route.name,
            head.prompt,
            &mut prefix,
        );
    }
    let number = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok());
    Asked {
        model: model.to_owned(),
        model_span: head.model_span.clone(),
        stream: head
            .stream
            .unwrap_or_else(|| operation.streams_by_default()),
        include_usage: head.include_usage,
        empty_prompt: head.has_empty_prompt,
        residency: None,
        num_ctx: number(head.num_ctx),
        max_tokens: number(head.max_tokens),
        prompt_tokens: estimate_tokens(head),
        embeds: operation.task() == Task::Embedding,
        prefix,
        only: None,
    }
}

/// Returns the tokens that a request is let in for; what it has really used is settled at its end.
fn expected_tokens(asked: &Asked) -> u64 {
    let answer = match (asked.embeds, asked.max_tokens) {
        (true, _) => 0,
        (false, Some(most)) => most,
        (false, None) => EXPECTED_COMPLETION,
    };
    u64::from(asked.prompt_tokens) + u64::from(answer)
}

/// Four bytes a token is right within a factor of two for the languages and tokenizers in use. Images are not text:
/// their base64 is left out, and they cost about as much as a page.
fn estimate_tokens(head: &Head<'_>) -> u32 {
    const IMAGE_TOKENS: u32 = 1_000;
    if head.has_images {
        return IMAGE_TOKENS;
    }
    u32::try_from(head.prompt.len() / 4).unwrap_or(u32::MAX)
}

async fn whole(mut exchange: Box<Exchange>) -> Response<ReplyBody> {
    let under_way = exchange.standing.clone();
    let answered = tokio::select! {
        biased;
        answered = coalescing::answer(&mut exchange) => answered,
        error = under_way.stopped() => {
            exchange.refuse(&error);
            Err(error)
        }
    };
    let standing = under_way.standing();
    let reply = Reply::new(exchange.id)
        .standing(&standing, exchange.shared().clock.monotonic())
        .joined(
            exchange.joined.map_or(0, |joined| joined.requests),
            exchange.parts,
        )
        .model(other_model(&exchange).as_deref());
    match answered {
        Ok(body) => reply.whole("application/json; charset=utf-8", body),
        Err(error) => reply.error(exchange.operation.dialect(), &error),
    }
}

async fn stream(exchange: Box<Exchange>, trailers: bool) -> Response<ReplyBody> {
    let (id, operation, other) = (exchange.id, exchange.operation, other_model(&exchange));
    let shared = exchange.shared().clone();
    let mut relay = Relay::new(exchange, trailers);
    let ready = relay.ready().await;
    let reply = Reply::new(id)
        .standing(&relay.standing(), shared.clock.monotonic())
        .model(other.as_deref());
    match ready {
        Ok(()) => reply.stream(
            operation.framing().content_type(),
            ReplyBody::Relay(Box::new(relay)),
            trailers,
        ),
        Err(error) => reply.error(operation.dialect(), &error),
    }
}

/// Returns the model that answers when it is not the one that was written: an alias or a fallback.
pub(crate) fn other_model(exchange: &Exchange) -> Option<Arc<str>> {
    let name = &exchange.route.name;
    (cluster::model_key(&exchange.asked.model) != **name).then(|| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outcome;
    use crate::relay::outcome_of;

    #[test]
    fn images_do_not_count_by_their_base64() {
        let text = Head {
            prompt: &[b'x'; 400],
            ..Head::default()
        };
        assert_eq!(estimate_tokens(&text), 100);
        let base64 = vec![b'x'; 4_000_000];
        let image = Head {
            has_images: true,
            prompt: &base64,
            ..Head::default()
        };
        assert_eq!(estimate_tokens(&image), 1_000);
        assert_eq!(outcome_of(&ApiError::invalid("x")), Outcome::ClientError);
    }
}
