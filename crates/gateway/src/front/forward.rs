//! POST routes under `/api` and `/v1` that we do not know go, by their model name, to a node of that dialect: clients
//! are often newer than gateways. Routes that manage or expose a server are never reachable.

use bytes::Bytes;
use dialects::{ApiError, Dialect, Operation, read_head, replace_model};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use identity::Principal;
use primitives::ErrorKind;

use super::reply::Reply;
use super::{LingeringBody, Visit, form, read_body};
use crate::body::ReplyBody;
use crate::fleet_view::{Found, NodeSpeech, Replica};
use crate::splitting::SplitCaller;
use crate::upstream::{Response as NodeResponse, UpstreamRequest, attempt};

/// Words in a path that mark routes which manage, change or expose a server (Ollama, vLLM, `SGLang`, llama.cpp,
/// LM Studio and whatever comes): a path with any of them in it is not forwarded.
const REFUSED_WORDS: [&str; 34] = [
    "abort",
    "account",
    "adapter",
    "admin",
    "auth",
    "cache",
    "config",
    "control",
    "debug",
    "delete",
    "experimental",
    "flush",
    "internal",
    "key",
    "load",
    "login",
    "lora",
    "manage",
    "metric",
    "pause",
    "profil",
    "pull",
    "push",
    "reset",
    "restart",
    "resume",
    "server",
    "shutdown",
    "signout",
    "sleep",
    "slot",
    "update",
    "wake",
    "weight",
];
/// First segments that belong to routes known here under other methods, to accounts, or to what a node keeps.
const REFUSED_SEGMENTS: [&str; 22] = [
    "assistants",
    "batches",
    "blobs",
    "containers",
    "copy",
    "create",
    "fine_tuning",
    "files",
    "me",
    "models",
    "organization",
    "ps",
    "quit",
    "show",
    "signin",
    "status",
    "stop",
    "tags",
    "threads",
    "user",
    "vector_stores",
    "version",
];

/// Tells whether a path may be forwarded: plain lower-case segments below `/api` or `/v1`, none of which smells of
/// administration.
pub(super) fn may_forward(path: &str) -> bool {
    let Some(rest) = path
        .strip_prefix("/api/")
        .or_else(|| path.strip_prefix("/v1/"))
    else {
        return false;
    };
    let plain = |segment: &str| {
        !segment.is_empty()
            && segment
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
    };
    rest.split('/').all(plain)
        && !rest
            .split('/')
            .next()
            .is_some_and(|first| REFUSED_SEGMENTS.contains(&first))
        && !REFUSED_WORDS.iter().any(|word| rest.contains(word))
}

/// Forwards a request of an unknown route.
pub(super) async fn answer(
    visit: &Visit<'_>,
    principal: &Principal,
    request: Request<LingeringBody>,
) -> Result<Response<ReplyBody>, ApiError> {
    let shared = &visit.worker.shared;
    let path = request.uri().path().to_owned();
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let read = read_body(request, &shared.body_rules).await?;
    let body = Bytes::clone(&read);
    let multipart = content_type.as_ref().and_then(form::boundary);
    let (model, body) = if let Some(boundary) = &multipart {
        (form::field(&body, boundary, "model")?, Ok(body))
    } else {
        // Any operation will do: the head is read alike, and a second or misspelt model is refused.
        let head = read_head(Operation::OpenAiChat, &body)?;
        (
            head.model.as_deref().map(str::to_owned),
            Err((body.clone(), head.model_span)),
        )
    };
    let model = model.filter(|m| !m.trim().is_empty()).ok_or_else(|| {
        ApiError::new(
            ErrorKind::NotFound,
            "this route is not known here, and without a model in the body it cannot be forwarded to a node",
        )
    })?;
    let not_found = || ApiError::model_not_found(dialects::Operation::OpenAiChat, &model);
    let table = shared.routes.load();
    let Found { route, only, .. } = table
        .find(&model, SplitCaller::new(principal, visit.peer.ip()))
        .ok_or_else(not_found)?;
    if !principal.may_use(&route.name) && !principal.may_use(&model) {
        return Err(not_found());
    }
    let replica = route
        .replicas
        .iter()
        .filter(|replica| replica.node.view.is_routable() && speaks(replica, visit.dialect))
        .filter(|replica| only.is_none_or(|node| node == replica.node.view.id))
        .min_by_key(|replica| replica.node.view.activity.in_flight())
        .cloned()
        .ok_or_else(|| {
            ApiError::new(
                ErrorKind::Unsupported,
                format!("{path} is not known here, and no node of {model} that speaks this dialect is up"),
            )
        })?;
    let Some(target) = &replica.node.target else {
        return Err(ApiError::new(
            ErrorKind::Unsupported,
            format!("{path} is not known here"),
        ));
    };
    let body = match body {
        Ok(form) if replica.answers_to(&model) => form,
        Ok(_) => {
            return Err(ApiError::unsupported(
                "model",
                "an alias cannot be used in a form: give the model's own name",
            ));
        }
        Err((json, Some(span))) if !replica.answers_to(&model) => {
            replace_model(&json, span, &replica.model.name)
        }
        Err((json, _)) => json,
    };
    let mut headers = HeaderMap::new();
    if let Some(content_type) = content_type.filter(|_| multipart.is_some()) {
        headers.insert(header::CONTENT_TYPE, content_type);
    } else {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static("remuda"));
    headers.insert(web::HOPS_HEADER, visit.hops.clone());
    let lease = replica.node.view.activity.begin(0);
    let upstream = UpstreamRequest {
        method: Method::POST,
        path: &path,
        headers,
        body,
    };
    let name = &replica.node.view.name;
    let limit = shared.config().unary_timeout;
    let sent = tokio::time::timeout(limit, visit.worker.pool.send(target, &upstream)).await;
    let response = match sent {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(attempt::broken(name, &error).error),
        Err(_) => {
            return Err(
                attempt::broken(name, &crate::upstream::UpstreamError::Timeout(limit)).error,
            );
        }
    };
    let NodeResponse { head, body } = response;
    let stream = futures_util::stream::unfold((body, lease), |(mut body, lease)| async move {
        let next = std::future::poll_fn(|cx| body.poll_data(cx)).await?;
        Some((next, (body, lease)))
    });
    let mut reply = Reply::new(visit.id).node(Some(name)).stream(
        "application/json",
        ReplyBody::Boxed(axum::body::Body::from_stream(stream)),
        false,
    );
    *reply.status_mut() = head.status;
    if let Some(content_type) = head.content_type {
        reply
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
    }
    Ok(reply)
}

fn speaks(replica: &Replica, dialect: Dialect) -> bool {
    match replica.node.speech {
        NodeSpeech::Http { dialect: node, .. } => {
            // Ollama has routes under /v1 as well.
            node == dialect || (dialect != Dialect::Ollama && node == Dialect::Ollama)
        }
        NodeSpeech::Engine => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_cannot_be_managed_through_the_gateway() {
        for path in [
            "/api/signout",
            "/api/user/keys/x",
            "/v1/load_lora_adapter",
            "/v1/../metrics",
            "/v1/%2e%2e/metrics",
            "/debug/pprof",
            "/v1//x",
            "/metrics",
            "/api/pull/",
            "/api/./pull",
            "/api/delete",
            "/api/tags",
            "/api/ps",
            "/v1/./load_lora_adapter",
            "/v1/Load_lora_adapter",
            "/api/admin/reload_config",
            "/api/extra/shutdown",
            "/v1/model/unload",
            "/v1/sleep",
            "/api/server_info",
            "/api/me",
            "/v1/",
        ] {
            assert!(!may_forward(path), "{path}");
        }
        for path in [
            "/v1/systemone",
            "/v1/rerank",
            "/api/brandnew",
            "/v1/audio/transcriptions",
            "/v1/images/generations",
        ] {
            assert!(may_forward(path), "{path}");
        }
    }
}
