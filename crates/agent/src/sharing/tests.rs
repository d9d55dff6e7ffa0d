//! Who gets what from a node that shares files.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use agent_proto::v1::{self, OfferRequest};
use agent_proto::{FILES, node_host};
use primitives::{Clock, SystemClock};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use testbed::upstream::ModelFiles;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::{MOST_TRANSFERS, Sharing};
use crate::config::ShareConfig;
use crate::membership::{Kept, Membership, make_key};
use crate::tls;

/// An authority as that of a control plane.
struct Authority {
    certificate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// Lets a node in.
    fn member(&self, node: &str) -> Membership {
        let key = make_key().unwrap();
        let mut params = CertificateParams::new(vec![node_host(node)]).unwrap();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let issued = v1::Membership {
            node_id: node.to_owned(),
            node_name: node.to_owned(),
            certificate: certificate.der().to_vec().into(),
            authority: self.certificate.clone().into(),
            not_before: 0,
            not_after: i64::MAX,
        };
        Membership::new("h:1".parse().unwrap(), issued, &key)
    }
}

/// A node `source` that has the model `m:1b` of one blob.
struct Source {
    sharing: Arc<Sharing>,
    address: SocketAddr,
    authority: Authority,
    hex: String,
    blob: Vec<u8>,
    directory: tempfile::TempDir,
    _stop: tokio_util::sync::DropGuard,
}

/// A client without a certificate.
#[derive(Debug)]
struct ShowsNothing;

impl ResolvesClientCert for ShowsNothing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

impl Source {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = ModelFiles::open(directory.path()).unwrap();
        let blob: Vec<u8> = (0..100_000_u32)
            .map(|number| (number % 251) as u8)
            .collect();
        files.add("m:1b", &[&blob]).unwrap();
        fs::write(directory.path().join("secret"), "not for anybody").unwrap();
        let authority = Authority::new();
        let config = ShareConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            told: Vec::new(),
            models_dir: directory.path().to_owned(),
        };
        let (sharing, listener) = Sharing::open(&config, &clock()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::new(Kept::new(
            directory.path().to_owned(),
            authority.member("source"),
        ));
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&sharing).serve(listener, kept, stop.clone()));
        Self {
            sharing,
            address,
            authority,
            hex: hex_of(&blob),
            blob,
            directory,
            _stop: stop.drop_guard(),
        }
    }

    async fn offer(&self, node: &str) -> v1::OfferResponse {
        let request = OfferRequest {
            node_id: node.to_owned(),
            model: "m:1b".to_owned(),
            seconds: 60,
        };
        self.sharing.offer(&request).await.unwrap()
    }

    /// Asks as a node, over a connection of its own. `None`: the connection was closed without an answer.
    async fn ask(&self, member: &Membership, line: &str, more: &str) -> Option<(u16, Vec<u8>)> {
        let config = tls::fetching(member, "source", &clock()).unwrap();
        self.ask_with(config, line, more).await
    }

    async fn ask_with(
        &self,
        config: rustls::ClientConfig,
        line: &str,
        more: &str,
    ) -> Option<(u16, Vec<u8>)> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(node_host("source")).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, socket).await.ok()?;
        let request = format!("{line} HTTP/1.1\r\nhost: source\r\nconnection: close\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer[end + 4..].to_vec()))
    }

    fn blob_line(&self) -> String {
        format!(
            "GET /v2/registry.ollama.ai/library/m/blobs/sha256:{}",
            self.hex
        )
    }
}

fn hex_of(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

const MANIFEST: &str = "GET /v2/registry.ollama.ai/library/m/manifests/1b";

#[tokio::test]
async fn a_node_gets_what_it_is_offered_whole_and_in_parts() {
    let source = Source::start().await;
    let member = source.authority.member("gpu2");
    let offered = source.offer("gpu2").await;
    let (status, text) = source.ask(&member, MANIFEST, "").await.unwrap();
    assert_eq!((status, hex_of(&text)), (200, offered.digest));
    assert!(offered.bytes > 100_000);
    let line = source.blob_line();
    let (status, whole) = source.ask(&member, &line, "").await.unwrap();
    assert_eq!((status, &whole), (200, &source.blob));
    let (status, part) = source
        .ask(&member, &line, "range: bytes=99990-99999\r\n")
        .await
        .unwrap();
    assert_eq!((status, part.as_slice()), (206, &source.blob[99_990..]));
    let (status, _) = source
        .ask(&member, &line, "range: bytes=100000-\r\n")
        .await
        .unwrap();
    assert_eq!(status, 416);
    let head = line.replace("GET", "HEAD");
    let (status, nothing) = source.ask(&member, &head, "").await.unwrap();
    assert_eq!((status, nothing.len()), (200, 0));
    let delete = line.replace("GET", "DELETE");
    assert_eq!(source.ask(&member, &delete, "").await.unwrap().0, 405);
    assert_eq!(source.sharing.told().sent_bytes, 100_010);
}

#[tokio::test]
async fn strangers_get_nothing() {
    let source = Source::start().await;
    source.offer("gpu2").await;
    let line = source.blob_line();
    // Another installation's node of the same name.
    let other = Authority::new().member("gpu2");
    assert_eq!(source.ask(&other, &line, "").await, None);
    // One that believes this installation, and shows nothing, or another's certificate.
    let ours = source.authority.member("gpu2");
    let mut anonymous = tls::fetching(&ours, "source", &clock()).unwrap();
    anonymous.client_auth_cert_resolver = Arc::new(ShowsNothing);
    assert_eq!(source.ask_with(anonymous, &line, "").await, None);
    let mut disguised = tls::fetching(&ours, "source", &clock()).unwrap();
    let theirs = tls::fetching(&other, "source", &clock()).unwrap();
    disguised.client_auth_cert_resolver = theirs.client_auth_cert_resolver;
    assert_eq!(source.ask_with(disguised, &line, "").await, None);
    // A connection that is for something else.
    let mut elsewhere = tls::fetching(&ours, "source", &clock()).unwrap();
    elsewhere.alpn_protocols = Vec::new();
    assert_eq!(source.ask_with(elsewhere, &line, "").await, None);
    assert_eq!(source.sharing.told().sent_bytes, 0);
    assert!(FILES != agent_proto::LINK && FILES != agent_proto::JOINING);
}

#[tokio::test]
async fn a_source_that_is_another_node_is_not_believed() {
    let source = Source::start().await;
    let member = source.authority.member("gpu2");
    let config = tls::fetching(&member, "gpu3", &clock()).unwrap();
    let line = source.blob_line();
    assert_eq!(source.ask_with(config, &line, "").await, None);
}

#[tokio::test]
async fn what_is_not_offered_is_not_there() {
    let source = Source::start().await;
    let member = source.authority.member("gpu2");
    let line = source.blob_line();
    assert_eq!(source.ask(&member, &line, "").await.unwrap().0, 404);
    source.offer("gpu3").await;
    assert_eq!(source.ask(&member, &line, "").await.unwrap().0, 404);
    source.offer("gpu2").await;
    assert_eq!(source.ask(&member, &line, "").await.unwrap().0, 200);
    let dots = "../".repeat(3);
    for path in [
        format!(
            "/v2/registry.ollama.ai/library/m/blobs/sha256:{}",
            "0".repeat(64)
        ),
        format!("/v2/registry.ollama.ai/library/m/blobs/{}", source.hex),
        format!("/v2/registry.ollama.ai/library/m/blobs/{dots}secret"),
        format!("/v2/registry.ollama.ai/library/m/blobs/sha256:{dots}secret"),
        "/v2/registry.ollama.ai/library/m/blobs/sha256:..%2f..%2fsecret".to_owned(),
        "/v2/registry.ollama.ai/library/m/manifests/..".to_owned(),
        format!("/v2/{dots}secret/manifests/1b"),
        "/v2/../library/m/manifests/1b".to_owned(),
        "/v2/registry.ollama.ai/library/other/manifests/1b".to_owned(),
        format!(
            "/v2/registry.ollama.ai/library/other/blobs/sha256:{}",
            source.hex
        ),
        format!(
            "/v2/registry.ollama.ai/library/m/blobs/sha256:{}/",
            source.hex
        ),
        "/secret".to_owned(),
        "/".to_owned(),
    ] {
        let (status, body) = source
            .ask(&member, &format!("GET {path}"), "")
            .await
            .unwrap();
        assert_eq!(status, 404, "{path}");
        let body = String::from_utf8_lossy(&body);
        assert!(!body.contains("anybody"), "{path}");
    }
    let unknown = OfferRequest {
        model: "../../secret".to_owned(),
        ..OfferRequest::default()
    };
    assert!(source.sharing.offer(&unknown).await.is_err());
}

#[tokio::test]
async fn who_comes_at_the_bound_is_told_to_come_again() {
    let source = Source::start().await;
    let member = source.authority.member("gpu2");
    source.offer("gpu2").await;
    let places = u32::try_from(MOST_TRANSFERS).unwrap();
    let held = Arc::clone(&source.sharing.transfers);
    let held = held.acquire_many_owned(places).await.unwrap();
    assert_eq!(source.sharing.told().transfers, places);
    let line = source.blob_line();
    assert_eq!(source.ask(&member, &line, "").await.unwrap().0, 503);
    drop(held);
    assert_eq!(source.ask(&member, &line, "").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_file_that_is_not_whole_is_not_sent() {
    let source = Source::start().await;
    let member = source.authority.member("gpu2");
    source.offer("gpu2").await;
    let blob = blob_path(source.directory.path(), &source.hex);
    fs::write(&blob, "short").unwrap();
    let line = source.blob_line();
    assert_eq!(source.ask(&member, &line, "").await.unwrap().0, 410);
    fs::remove_file(&blob).unwrap();
    assert_eq!(source.ask(&member, &line, "").await.unwrap().0, 410);
}

fn blob_path(models: &Path, hex: &str) -> std::path::PathBuf {
    models.join("blobs").join(format!("sha256-{hex}"))
}
