//! The bounds of the outbound client: sizes and waits.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, Channel};
use primitives::{Classify as _, ErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use url::Url;
use web::outbound::OutboundError;

use crate::outbound::client;
use crate::upstream::{Body, Upstream, full};

/// A body that sends one piece and then nothing more, without ending.
fn stalling() -> Body {
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(1);
    tokio::spawn(async move {
        sender
            .send(Frame::data(Bytes::from_static(b"first")))
            .await
            .unwrap();
        pending::<()>().await;
    });
    body.boxed_unsync()
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused_whether_announced_or_not() {
    let upstream = Upstream::start(|request| async move {
        if request.uri().path() == "/announced" {
            return Response::new(full(vec![b'x'; 11]));
        }
        let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(2);
        for _ in 0..2 {
            sender
                .try_send(Frame::data(Bytes::from_static(b"xxxxxx")))
                .unwrap();
        }
        Response::new(body.boxed_unsync())
    })
    .await;
    for path in ["/announced", "/chunked"] {
        let answer = client().get(&upstream.url(path)).send().await.unwrap();
        let error = answer.bytes(10).await.unwrap_err();
        assert!(
            matches!(
                error,
                OutboundError::TooLarge {
                    limit_bytes: 10,
                    ..
                }
            ),
            "{path}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_never_answers_times_out() {
    let upstream = Upstream::start(|_| pending()).await;
    let error = client()
        .get(&upstream.url("/"))
        .head_timeout(Duration::from_millis(20))
        .send()
        .await
        .unwrap_err();
    assert!(
        matches!(error, OutboundError::Timeout { wait: "answer", .. }),
        "{error:?}"
    );
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(!error.is_before_send());
}

#[tokio::test]
async fn a_body_that_stalls_times_out() {
    let upstream = Upstream::start(|_| async { Response::new(stalling()) }).await;
    let mut answer = client()
        .get(&upstream.url("/"))
        .total_timeout(None)
        .idle_timeout(Duration::from_millis(20))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "first");
    let error = answer.chunk().await.unwrap_err();
    assert!(
        matches!(
            error,
            OutboundError::Timeout {
                wait: "send more",
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_total_limit_covers_the_body() {
    let upstream = Upstream::start(|_| async { Response::new(stalling()) }).await;
    let answer = client()
        .get(&upstream.url("/"))
        .total_timeout(Some(Duration::from_millis(100)))
        .send()
        .await
        .unwrap();
    let error = answer.bytes(100).await.unwrap_err();
    assert!(
        matches!(error, OutboundError::Timeout { wait: "finish", .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = Url::parse(&format!("http://{address}/")).unwrap();
    let error = client().get(&url).send().await.unwrap_err();
    assert!(matches!(error, OutboundError::Connect { .. }), "{error:?}");
    assert!(error.is_before_send());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_not_a_short_body() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            .await
            .unwrap();
    });
    let answer = client().get(&url).send().await.unwrap();
    let error = answer.bytes(1000).await.unwrap_err();
    assert!(matches!(error, OutboundError::Broken { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Upstream);
}
