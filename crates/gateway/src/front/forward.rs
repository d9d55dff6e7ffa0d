//! POST routes under `/api` and `/v1` that we do not know go, by their model name, to a node of that dialect: clients
//! are often newer than gateways. Routes that manage or expose a server are never reachable.

use bytes::Bytes;
use dialects::{ApiError, Dialect};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use identity::Principal;
use primitives::ErrorKind;
use serde::Deserialize;

use super::reply::Reply;
use super::{Visit, read_body};
use crate::body::ReplyBody;
use crate::fleet_view::{NodeSpeech, Replica};
use crate::upstream::{Response as NodeResponse, UpstreamRequest, attempt};

/// Account, administration and debugging of a server (Ollama, vLLM, `SGLang`, llama.cpp), by the beginning of the path.
const REFUSED: [&str; 22] = [
    "/api/me",
    "/api/signout",
    "/api/user",
    "/api/experimental",
    "/api/debug",
    "/api/status",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/internal",
    "/v1/admin",
    "/v1/debug",
    "/v1/models",
    "/v1/chat/completions/control",
    "/v1/files",
    "/v1/batches",
    "/v1/fine_tuning",
    "/v1/assistants",
    "/v1/threads",
    "/v1/vector_stores",
    "/v1/uploads",
    "/v1/containers",
    "/v1/organization",
];

/// Tells whether a path may be forwarded.
pub(super) fn may_forward(path: &str) -> bool {
    let plain = path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'.'));
    let below = path.starts_with("/api/") || path.starts_with("/v1/");
    plain
        && below
        && !path.contains("..")
        && !path.contains("//")
        && !REFUSED.iter().any(|refused| {
            path == *refused
                || path
                    .strip_prefix(refused)
                    .is_some_and(|rest| rest.starts_with('/'))
        })
}

/// Forwards a request of an unknown route.
pub(super) async fn answer(
    visit: &Visit<'_>,
    principal: &Principal,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, ApiError> {
    let shared = &visit.worker.shared;
    let path = request.uri().path().to_owned();
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let body = read_body(
        request.into_body(),
        shared.config.body_limit,
        shared.config.body_timeout,
    )
    .await?;
    let model = model_of(content_type.as_ref(), &body).ok_or_else(|| {
        ApiError::new(
            ErrorKind::NotFound,
            "this route is not known here, and without a model in the body it cannot be forwarded to a node",
        )
    })?;
    let not_found = || ApiError::model_not_found(dialects::Operation::OpenAiChat, &model);
    let table = shared.routes.load();
    let route = table.find(&model).ok_or_else(not_found)?;
    if !principal.may_use(&route.name) && !principal.may_use(&model) {
        return Err(not_found());
    }
    let replica = route
        .replicas
        .iter()
        .filter(|replica| replica.node.view.is_routable() && speaks(replica, visit.dialect))
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
    let mut headers = HeaderMap::new();
    if let Some(content_type) = content_type.filter(|v| v.as_bytes().starts_with(b"multipart/")) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static("remuda"));
    let lease = replica.node.view.activity.begin(0);
    let upstream = UpstreamRequest {
        method: Method::POST,
        path: &path,
        headers,
        body,
    };
    let name = &replica.node.view.name;
    let sent = tokio::time::timeout(
        shared.config.unary_timeout,
        visit.worker.pool.send(target, &upstream),
    )
    .await;
    let response = match sent {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(attempt::broken(name, &error).error),
        Err(_) => {
            return Err(attempt::broken(
                name,
                &crate::upstream::UpstreamError::Timeout(shared.config.unary_timeout),
            )
            .error);
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

/// Finds the model in a JSON body, or in the form field of that name.
fn model_of(content_type: Option<&HeaderValue>, body: &Bytes) -> Option<String> {
    #[derive(Deserialize)]
    struct Model {
        model: String,
    }
    if content_type.is_some_and(|v| v.as_bytes().starts_with(b"multipart/")) {
        const FIELD: &[u8] = b"name=\"model\"\r\n\r\n";
        let start = memchr::memmem::find(body, FIELD)? + FIELD.len();
        let rest = body.get(start..)?;
        let end = memchr::memchr(b'\r', rest)?;
        return String::from_utf8(rest.get(..end)?.to_vec()).ok();
    }
    serde_json::from_slice::<Model>(body).ok().map(|m| m.model)
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
        ] {
            assert!(!may_forward(path), "{path}");
        }
        for path in [
            "/v1/systemone",
            "/v1/rerank",
            "/api/brandnew",
            "/v1/audio/transcriptions",
        ] {
            assert!(may_forward(path), "{path}");
        }
    }

    #[test]
    fn the_model_is_found_in_json_and_in_forms() {
        let json = Bytes::from_static(br#"{"model":"m","x":1}"#);
        assert_eq!(model_of(None, &json).as_deref(), Some("m"));
        let form = Bytes::from_static(
            b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--b--",
        );
        let multipart = HeaderValue::from_static("multipart/form-data; boundary=b");
        assert_eq!(
            model_of(Some(&multipart), &form).as_deref(),
            Some("whisper")
        );
        assert_eq!(model_of(None, &Bytes::from_static(b"[]")), None);
    }
}
