//! What the outbound client sends and how it reads answers.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use http::{Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Channel};
use primitives::Secret;
use serde_json::{Value, json};
use url::Url;
use web::outbound::{Client, ClientConfig, OutboundError, Reach};

use crate::upstream::{Upstream, full};

pub(crate) fn client() -> Client {
    Client::new(ClientConfig::new(Reach::Nodes)).unwrap()
}

#[tokio::test]
async fn a_json_call_carries_its_body_its_type_and_its_secret() {
    let upstream = Upstream::start(|request| async move {
        let (parts, body) = request.into_parts();
        let body: Value =
            serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        let header = |name| parts.headers[name].to_str().unwrap().to_owned();
        let seen = json!({
            "method": parts.method.as_str(),
            "path": parts.uri.to_string(),
            "host": header(HOST),
            "type": header(CONTENT_TYPE),
            "authorization": header(AUTHORIZATION),
            "body": body,
        });
        Response::new(full(seen.to_string()))
    })
    .await;
    let answer: Value = client()
        .post(&upstream.url("/api/show?x=%20y#part"))
        .bearer(&Secret::new("s3cret".to_owned()))
        .json(&json!({"model": "m"}))
        .send()
        .await
        .unwrap()
        .json(10_000)
        .await
        .unwrap();
    assert_eq!(
        answer,
        json!({
            "method": "POST",
            "path": "/api/show?x=%20y",
            "host": upstream.address.to_string(),
            "type": "application/json",
            "authorization": "Bearer s3cret",
            "body": {"model": "m"},
        })
    );
}

#[tokio::test]
async fn user_names_in_the_address_are_not_sent() {
    let upstream = Upstream::start(|request| async move {
        Response::new(full(format!("{:?}", request.headers())))
    })
    .await;
    let mut url = upstream.url("/");
    url.set_username("ann").unwrap();
    url.set_password(Some("hunter2")).unwrap();
    let body = client()
        .get(&url)
        .send()
        .await
        .unwrap()
        .bytes(10_000)
        .await
        .unwrap();
    assert!(!String::from_utf8_lossy(&body).contains("hunter2"));
}

#[tokio::test]
async fn bodies_stream_in_both_directions_while_they_are_made() {
    let upstream = Upstream::start(|request| async move {
        let body = request.into_body().map_err(std::io::Error::other);
        Response::new(body.boxed_unsync())
    })
    .await;
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(1);
    let mut answer = client()
        .call(Method::PUT, &upstream.url("/echo"))
        .stream(body)
        .total_timeout(None)
        .send()
        .await
        .unwrap();
    for piece in ["one", "two", "three"] {
        sender.send(Frame::data(Bytes::from(piece))).await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), piece);
    }
    drop(sender);
    assert_eq!(answer.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let upstream = Upstream::start(|request| async move {
        assert_eq!(request.uri().path(), "/old");
        Response::builder()
            .status(302)
            .header(LOCATION, "http://169.254.169.254/latest/meta-data/")
            .body(full(""))
            .unwrap()
    })
    .await;
    let answer = client().get(&upstream.url("/old")).send().await.unwrap();
    assert_eq!(answer.status(), 302);
}

#[tokio::test]
async fn an_error_status_is_an_answer() {
    let upstream =
        Upstream::start(|_| async { Response::builder().status(503).body(full("busy")).unwrap() })
            .await;
    let answer = client().get(&upstream.url("/")).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.bytes(10).await.unwrap(), "busy");
}

#[tokio::test]
async fn another_scheme_and_a_metadata_address_are_refused_before_anything_is_sent() {
    for url in [
        "ftp://example.org/",
        "http://169.254.169.254/latest",
        "http://[::ffff:a9fe:a9fe]/",
    ] {
        let error = client()
            .get(&Url::parse(url).unwrap())
            .send()
            .await
            .unwrap_err();
        assert!(
            matches!(error, OutboundError::Refused { .. }),
            "{url}: {error:?}"
        );
        assert!(error.is_before_send());
    }
}

#[tokio::test]
async fn addresses_from_users_may_not_reach_this_machine() {
    let upstream = Upstream::start(|_| async { Response::new(full("private")) }).await;
    let public = Client::new(ClientConfig::new(Reach::Public)).unwrap();
    let by_name = Url::parse(&format!("http://localhost:{}/", upstream.address.port())).unwrap();
    for url in [upstream.url("/"), by_name] {
        let error = public.get(&url).send().await.unwrap_err();
        assert!(
            matches!(error, OutboundError::Refused { .. }),
            "{url}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_secret_that_no_header_can_carry_is_refused() {
    let upstream = Upstream::start(|_| async { Response::new(full("")) }).await;
    let error = client()
        .get(&upstream.url("/"))
        .bearer(&Secret::new("a\nb".to_owned()))
        .send()
        .await
        .unwrap_err();
    assert!(matches!(error, OutboundError::Request { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("a\\nb"));
}

#[tokio::test]
async fn an_answer_that_is_not_json_says_whose_it_is() {
    let upstream = Upstream::start(|_| async { Response::new(full("<html>")) }).await;
    let answer = client().get(&upstream.url("/")).send().await.unwrap();
    let error = answer.json::<Value>(100).await.unwrap_err();
    assert!(
        matches!(&error, OutboundError::Json { target, .. } if *target == upstream.address.to_string())
    );
}
