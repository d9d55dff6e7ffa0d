//! Servers by https whose certificates come from an authority of one's own.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;
use web::outbound::{Client, ClientConfig, OutboundError, Reach, Trust};

/// Answers one call by TLS; returns where, and the certificate of its authority as PEM.
async fn tls_server() -> (Url, String) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
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
    let url = Url::parse(&format!("https://127.0.0.1:{port}/")).unwrap();
    (url, authority.pem())
}

fn client(trust: Trust) -> Client {
    let mut config = ClientConfig::new(Reach::Nodes);
    config.trust = trust;
    Client::new(config).unwrap()
}

#[tokio::test]
async fn an_added_authority_is_believed() {
    let (url, authority) = tls_server().await;
    let bundle = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(bundle.path(), authority).unwrap();
    let trust = Trust::from_file(bundle.path()).unwrap();
    let answer = client(trust).get(&url).send().await.unwrap();
    assert_eq!(answer.bytes(100).await.unwrap(), "secret");
}

#[tokio::test]
async fn an_unknown_authority_is_not_believed_and_the_error_says_so() {
    let (url, _) = tls_server().await;
    let error = client(Trust::default()).get(&url).send().await.unwrap_err();
    assert!(matches!(error, OutboundError::Connect { .. }), "{error:?}");
    assert!(error.is_before_send());
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}
