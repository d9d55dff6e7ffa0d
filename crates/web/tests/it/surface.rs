//! What clients of the management API see when something is wrong.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use http::{Request, Response};
use primitives::{ManualClock, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use tower::ServiceExt as _;
use web::{JsonBody, PageQuery, PathParam, QueryParams, api_surface, read_capped};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Greeting {
    name: String,
}

async fn greet(body: JsonBody<Greeting>) -> JsonBody<String> {
    JsonBody(format!("hello {}", body.0.name))
}

async fn page(id: PathParam<u32>, query: QueryParams<PageQuery>) -> JsonBody<u32> {
    JsonBody(id.0 + query.0.size())
}

async fn send(request: Request<Body>) -> Response<Body> {
    let router = Router::new()
        .route("/api/v1/greet", post(greet))
        .route("/api/v1/pages/{id}", axum::routing::get(page));
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_000_000)));
    api_surface(router, clock).oneshot(request).await.unwrap()
}

fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

/// Checks that the answer is a problem of the given status whose id is the header's, and returns its detail.
async fn problem(response: Response<Body>, status: u16) -> String {
    assert_eq!(response.status(), status);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let id = response.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let body: Value =
        serde_json::from_slice(&read_capped(response.into_body(), 10_000).await.unwrap()).unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], id);
    assert!(
        body["type"]
            .as_str()
            .unwrap()
            .starts_with("urn:remuda:problem:")
    );
    body["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_good_request_is_answered_and_named() {
    let response = send(request("POST", "/api/v1/greet", r#"{"name":"ann"}"#)).await;
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("x-request-id"));
    let body = read_capped(response.into_body(), 100).await.unwrap();
    assert_eq!(body, r#""hello ann""#);
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_that_names_it() {
    let detail = problem(send(request("GET", "/api/v1/nowhere", "")).await, 404).await;
    assert!(detail.contains("/api/v1/nowhere"), "{detail}");
    let long = format!("/api/v1/{}", "x".repeat(5000));
    assert!(
        problem(send(request("GET", &long, "")).await, 404)
            .await
            .len()
            < 400
    );
}

#[tokio::test]
async fn a_wrong_method_is_a_problem_that_lists_the_right_ones() {
    let response = send(request("DELETE", "/api/v1/greet", "")).await;
    assert_eq!(response.headers()["allow"], "POST");
    problem(response, 405).await;
}

#[tokio::test]
async fn every_answer_has_the_headers_that_browsers_keep_to() {
    let good = send(request("POST", "/api/v1/greet", r#"{"name":"ann"}"#)).await;
    let unknown = send(request("GET", "/api/v1/nothing", "")).await;
    for response in [good, unknown] {
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cache-control"], "no-store");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!headers.contains_key("strict-transport-security"));
    }
    let mut over_tls = request("GET", "/api/v1/nothing", "");
    over_tls.extensions_mut().insert(web::SecureTransport);
    let headers = send(over_tls).await.headers().clone();
    assert_eq!(headers["strict-transport-security"], "max-age=31536000");
}

#[tokio::test]
async fn every_kind_of_bad_body_is_a_problem() {
    for (body, part) in [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        (r#"{"name": 7}"#, "expected fields"),
        (r#" ["x"]"#, "must be a JSON object"),
        (r#"{"nam": "x"}"#, "unknown field `nam`"),
        (r#"{"name": "x", "more": 1}"#, "unknown field `more`"),
    ] {
        let detail = problem(send(request("POST", "/api/v1/greet", body)).await, 400).await;
        assert!(detail.contains(part), "{body}: {detail}");
    }
    let invalid_utf8 = b"{\"name\": \"\xff\"}".to_vec();
    problem(
        send(request("POST", "/api/v1/greet", invalid_utf8)).await,
        400,
    )
    .await;
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(300_000));
    problem(send(request("POST", "/api/v1/greet", large)).await, 413).await;
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let mut request = request("POST", "/api/v1/greet", r#"{"name":"ann"}"#);
    request
        .headers_mut()
        .insert("content-type", "text/plain".parse().unwrap());
    let detail = problem(send(request).await, 415).await;
    assert!(detail.contains("application/json"), "{detail}");
}

#[tokio::test]
async fn bad_paths_and_queries_are_problems() {
    problem(send(request("GET", "/api/v1/pages/x", "")).await, 400).await;
    problem(
        send(request("GET", "/api/v1/pages/1?limit=many", "")).await,
        400,
    )
    .await;
    problem(
        send(request("GET", "/api/v1/pages/1?page=2", "")).await,
        400,
    )
    .await;
    for out_of_range in ["limit=0", "limit=501", "limit=-1", "offset=100001"] {
        let path = format!("/api/v1/pages/1?{out_of_range}");
        let detail = problem(send(request("GET", &path, "")).await, 400).await;
        assert!(
            detail.contains("must be") || detail.contains("invalid"),
            "{detail}"
        );
    }
    let largest = send(request("GET", "/api/v1/pages/1?limit=500&offset=0", "")).await;
    assert_eq!(largest.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_awaited_for_ever() {
    let (_sender, body) = http_body_util::Channel::<bytes::Bytes>::new(1);
    let response = send(request("POST", "/api/v1/greet", Body::new(body))).await;
    let detail = problem(response, 504).await;
    assert!(detail.contains("within 30 s"), "{detail}");
}
