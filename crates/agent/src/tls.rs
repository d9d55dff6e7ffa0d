//! TLS of the agent: whom it believes, and how it shows who it is.

use std::sync::Arc;

use agent_proto::{CONTROL_PLANE, FILES, Invitation, node_host, node_of};
use primitives::{Clock, Timestamp};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::ControlPlane;
use crate::error::AgentError;
use crate::membership::Membership;

/// Returns the TLS of a machine that has not joined: it believes the authority that its invitation names, whatever the host.
pub(crate) fn invited(
    invitation: Invitation,
    clock: &Arc<dyn Clock>,
) -> Result<ClientConfig, AgentError> {
    let provider = provider();
    let verifier = Arc::new(InviterVerifier {
        invitation,
        provider: Arc::clone(&provider),
    });
    let mut config = ClientConfig::builder_with_details(provider, time(clock))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![agent_proto::JOINING.to_vec()];
    Ok(config)
}

/// Returns the TLS of a node, for one of the two protocols.
pub(crate) fn member(
    membership: &Membership,
    protocol: &[u8],
    clock: &Arc<dyn Clock>,
) -> Result<ClientConfig, AgentError> {
    let (chain, key) = shown(membership);
    let mut config = ClientConfig::builder_with_details(provider(), time(clock))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_root_certificates(authority(membership)?)
        .with_client_auth_cert(chain, key.into())
        .map_err(wrong)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// Returns the TLS of a node that fetches files from another: it believes the certificate of that node alone.
pub(crate) fn fetching(
    membership: &Membership,
    source: &str,
    clock: &Arc<dyn Clock>,
) -> Result<ClientConfig, AgentError> {
    let (chain, key) = shown(membership);
    let verifier = NodeVerifier {
        node: source.to_owned(),
        nodes: nodes(membership)?,
    };
    let mut config = ClientConfig::builder_with_details(provider(), time(clock))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key.into())
        .map_err(wrong)?;
    config.alpn_protocols = vec![FILES.to_vec()];
    Ok(config)
}

/// Returns the TLS of a node that shares files: it believes the nodes of its installation, and nobody without a certificate.
pub(crate) fn sharing(
    membership: &Membership,
    clock: &Arc<dyn Clock>,
) -> Result<ServerConfig, AgentError> {
    let (chain, key) = shown(membership);
    let mut config = ServerConfig::builder_with_details(provider(), time(clock))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_client_cert_verifier(nodes(membership)?)
        .with_single_cert(chain, key.into())
        .map_err(wrong)?;
    config.alpn_protocols = vec![FILES.to_vec()];
    Ok(config)
}

/// Returns what a node shows of itself, and its key.
fn shown(membership: &Membership) -> (Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>) {
    let chain = vec![
        CertificateDer::from(membership.certificate.clone()),
        CertificateDer::from(membership.authority.clone()),
    ];
    (chain, PrivatePkcs8KeyDer::from(membership.key().to_vec()))
}

/// Returns who tells the nodes of the installation from others.
fn nodes(membership: &Membership) -> Result<Arc<dyn ClientCertVerifier>, AgentError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(authority(membership)?), provider())
        .build()
        .map_err(wrong)
}

/// Returns the authority of the installation, the only one that is believed.
fn authority(membership: &Membership) -> Result<RootCertStore, AgentError> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from(membership.authority.clone());
    roots.add(authority).map_err(wrong)?;
    Ok(roots)
}

/// Connects to another node, for files.
pub(crate) async fn connect_to_node(
    address: &str,
    node: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(node_host(node)).map_err(std::io::Error::other)?;
    TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
}

/// Connects to a control plane.
pub(crate) async fn connect(
    address: &ControlPlane,
    config: ClientConfig,
) -> Result<TlsStream<TcpStream>, AgentError> {
    let unreachable = |error: std::io::Error| {
        let cause = error
            .get_ref()
            .and_then(|cause| cause.downcast_ref::<rustls::Error>());
        let (address, reason) = (address.to_string(), error.to_string());
        match cause {
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
                | CertificateError::Expired
                | CertificateError::ExpiredContext { .. },
            )) => AgentError::Clock { address, reason },
            Some(rustls::Error::InvalidCertificate(_)) => {
                AgentError::NotTheInviter { address, reason }
            }
            _ => AgentError::Unreachable { address, reason },
        }
    };
    let socket = TcpStream::connect(address.as_str())
        .await
        .map_err(unreachable)?;
    socket.set_nodelay(true).map_err(unreachable)?;
    let name = ServerName::try_from(CONTROL_PLANE).map_err(wrong)?;
    TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
        .map_err(unreachable)
}

/// Certificates count by the agent's clock.
fn time(clock: &Arc<dyn Clock>) -> Arc<dyn TimeProvider> {
    Arc::new(ClockTime(Arc::clone(clock)))
}

#[derive(Debug)]
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = self.0.now().since(Timestamp::from_micros(0));
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn wrong(error: impl std::fmt::Display) -> AgentError {
    AgentError::Certificate(error.to_string())
}

/// Believes certificates that end in the authority whose fingerprint stands in the invitation.
#[derive(Debug)]
struct InviterVerifier {
    invitation: Invitation,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for InviterVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let mut shown = intermediates.iter();
        let authority = shown
            .find(|certificate| self.invitation.vouches_for(certificate))
            .ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|_| unknown())?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Believes one node. Its certificate says who it is, whichever side of a connection shows it: it is looked at as that of a client,
/// which is what the authority issues it for.
#[derive(Debug)]
struct NodeVerifier {
    node: String,
    nodes: Arc<dyn ClientCertVerifier>,
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.nodes
            .verify_client_cert(end_entity, intermediates, now)?;
        if node_of(end_entity).as_deref() == Some(self.node.as_str()) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::NotValidForName.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.nodes
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.nodes
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.nodes.supported_verify_schemes()
    }
}
