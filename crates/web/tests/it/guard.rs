//! Addresses that mean something else than they seem to.

use bytes::Bytes;
use http::Response;
use url::Url;
use web::outbound::{Client, ClientConfig, OutboundError, Reach, Refusal};

use crate::upstream::{Upstream, full};

fn client(reach: Reach) -> Client {
    Client::new(ClientConfig::new(reach)).unwrap()
}

async fn refusal(reach: Reach, url: &str) -> Option<Refusal> {
    match client(reach).get(&Url::parse(url).unwrap()).send().await {
        Err(OutboundError::Refused { refusal, .. }) => Some(refusal),
        _ => None,
    }
}

#[tokio::test]
async fn metadata_addresses_are_recognised_however_they_are_written() {
    for host in [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0xa9.0xfe.0xa9.0xfe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "%31%36%39.254.169.254",
        "\u{ff11}69.254.169.254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[0:0:0:0:0:ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "169.254.169.254.",
    ] {
        for reach in [Reach::Nodes, Reach::Public] {
            let url = format!("http://{host}/latest/meta-data/");
            assert_eq!(
                refusal(reach, &url).await,
                Some(Refusal::Metadata),
                "{host}"
            );
        }
    }
}

#[tokio::test]
async fn this_machine_is_recognised_however_it_is_written() {
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "localhost",
        "LOCALHOST",
    ] {
        let url = format!("http://{host}:1/");
        assert_eq!(
            refusal(Reach::Public, &url).await,
            Some(Refusal::Private),
            "{host}"
        );
    }
    // Linux takes the unspecified address for this machine.
    for host in ["0.0.0.0", "0", "0x0", "[::]", "[::ffff:0.0.0.0]", "000000"] {
        for reach in [Reach::Nodes, Reach::Public] {
            let url = format!("http://{host}:1/");
            assert_eq!(
                refusal(reach, &url).await,
                Some(Refusal::NotUnicast),
                "{host}"
            );
        }
    }
}

#[tokio::test]
async fn what_stands_before_an_at_sign_is_no_host() {
    let url = "http://example.org@127.0.0.1:1/";
    assert_eq!(refusal(Reach::Public, url).await, Some(Refusal::Private));
    let url = "http://example.org%2f@169.254.169.254/";
    assert_eq!(refusal(Reach::Nodes, url).await, Some(Refusal::Metadata));
}

/// A name is resolved once, and the connection goes to the address that was checked: what the name means a moment later plays
/// no part. Here the name's only address is this machine's, so there must be no connection at all.
#[tokio::test]
async fn a_name_is_judged_by_the_address_it_leads_to() {
    let upstream =
        Upstream::start(|_| async { Response::new(full(Bytes::from_static(b"inside"))) }).await;
    let port = upstream.address.port();
    let url = format!("http://localhost:{port}/");
    assert_eq!(refusal(Reach::Public, &url).await, Some(Refusal::Private));
    let answer = client(Reach::Nodes)
        .get(&Url::parse(&url).unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.bytes(100).await.unwrap(), "inside");
}

#[tokio::test]
async fn a_redirect_leads_nowhere_whatever_its_status() {
    for status in [301, 302, 303, 307, 308] {
        let upstream = Upstream::start(move |_| async move {
            Response::builder()
                .status(status)
                .header("location", "http://127.0.0.1:1/")
                .body(full(Bytes::new()))
                .unwrap()
        })
        .await;
        let answer = client(Reach::Nodes)
            .get(&upstream.url("/"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status);
    }
}
