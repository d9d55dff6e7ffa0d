//! Servers by https whose certificates come from an authority of one's own.
//!
//! The certificates under `certs/` are valid for 100 years; their authority's key was thrown away.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;
use web::outbound::{Client, ClientConfig, OutboundError, Reach, Trust};

const AUTHORITY: &[u8] = include_bytes!("certs/ca.pem");

/// Answers one call by TLS and returns where.
async fn tls_server() -> Url {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("certs/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("certs/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else {
            return;
        };
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret")
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
    });
    Url::parse(&format!("https://127.0.0.1:{port}/")).unwrap()
}

fn client(trust: Trust) -> Client {
    let mut config = ClientConfig::new(Reach::Nodes);
    config.trust = trust;
    Client::new(config).unwrap()
}

#[tokio::test]
async fn an_added_authority_is_believed() {
    let url = tls_server().await;
    let trust = Trust::from_pem(AUTHORITY, "ca.pem").unwrap();
    let answer = client(trust).get(&url).send().await.unwrap();
    assert_eq!(answer.bytes(100).await.unwrap(), "secret");
}

#[tokio::test]
async fn an_unknown_authority_is_not_believed_and_the_error_says_so() {
    let url = tls_server().await;
    let error = client(Trust::default()).get(&url).send().await.unwrap_err();
    assert!(matches!(error, OutboundError::Connect { .. }), "{error:?}");
    assert!(error.is_before_send());
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[test]
fn a_bundle_is_read_from_a_file() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/certs/ca.pem");
    assert!(Trust::from_file(&path).is_ok());
}
