//! Who issues the certificates of agents: an authority of our own, kept sealed in the database, that nothing outside believes.

use std::sync::Arc;
use std::time::Duration;

use agent_proto::{CONTROL_PLANE, JOINING, LINK, node_host};
use primitives::{Clock, NodeId, Timestamp};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SignatureAlgorithm, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use store::{Db, Sealer};

use crate::error::NodeError;
use crate::store as rows;

/// What the authority's key is sealed for.
pub(crate) const KEY_PLACE: &str = "agent_authority|key";
/// How long a node's certificate counts.
const NODE_LIFE: Duration = Duration::from_hours(30 * 24);
/// How long the authority counts, and our own certificate, whose key never leaves this process.
const LONG_LIFE: Duration = Duration::from_hours(20 * 365 * 24);
/// Certificates count from a day before they are issued, for machines whose clocks are behind.
const CLOCKS_APART: Duration = Duration::from_hours(24);
/// An uncompressed point of P-256: SEC 1, section 2.3.3.
const POINT: usize = 65;

/// A certificate for a node.
pub(super) struct Issued {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// The authority with its key.
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads the authority, or makes it where there is none. Processes that start at the same time agree on one.
    pub(crate) async fn open(
        db: &Db,
        sealer: &Sealer,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, NodeError> {
        let mut tx = db.read().await?;
        let stored = rows::find_authority(&mut tx).await?;
        tx.commit().await?;
        let stored = if let Some(stored) = stored {
            stored
        } else {
            let (key, certificate) = make(clock.now())?;
            let envelope = sealer.seal(KEY_PLACE, &key.serialize_der())?;
            let mut tx = db.write().await?;
            let stored =
                rows::load_or_insert_authority(&mut tx, certificate.der(), &envelope, clock.now())
                    .await?;
            tx.commit().await?;
            stored
        };
        let key = sealer.open(KEY_PLACE, &stored.key_sealed)?;
        let key = PrivatePkcs8KeyDer::from(key.expose().as_slice());
        let key =
            KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).map_err(wrong)?;
        Ok(Self {
            certificate: stored.certificate.into(),
            issuer: Issuer::new(authority_params(), key),
        })
    }

    /// Returns the authority's certificate (DER).
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Issues a certificate to a node for its public key.
    pub(super) fn issue(
        &self,
        node: NodeId,
        public_key: &[u8],
        now: Timestamp,
    ) -> Result<Issued, NodeError> {
        let key = NodeKey::new(public_key)?;
        let (not_before, not_after) = (now.before(CLOCKS_APART), now.after(NODE_LIFE));
        let mut params =
            CertificateParams::new(vec![node_host(&node.to_string())]).map_err(wrong)?;
        params.distinguished_name = named("Remuda node");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        lasting(&mut params, not_before, not_after);
        let certificate = params.signed_by(&key, &self.issuer).map_err(wrong)?;
        Ok(Issued {
            certificate: certificate.into(),
            not_before: now,
            not_after,
        })
    }

    /// Makes the TLS of the listener for agents: our own certificate, fresh for this process, and belief in our nodes' alone.
    pub(super) fn server_config(&self, now: Timestamp) -> Result<rustls::ServerConfig, NodeError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(wrong)?;
        let mut params = CertificateParams::new(vec![CONTROL_PLANE.to_owned()]).map_err(wrong)?;
        params.distinguished_name = named("Remuda control plane");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        lasting(&mut params, now.before(CLOCKS_APART), now.after(LONG_LIFE));
        let certificate = params.signed_by(&key, &self.issuer).map_err(wrong)?;
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(wrong)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let nodes =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(wrong)?;
        let chain = vec![certificate.into(), self.certificate.clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_client_cert_verifier(nodes)
            .with_single_cert(chain, key.into())
            .map_err(wrong)?;
        config.alpn_protocols = vec![LINK.to_vec(), JOINING.to_vec()];
        Ok(config)
    }
}

fn make(now: Timestamp) -> Result<(KeyPair, Certificate), NodeError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(wrong)?;
    let mut params = authority_params();
    lasting(&mut params, now.before(CLOCKS_APART), now.after(LONG_LIFE));
    let certificate = params.self_signed(&key).map_err(wrong)?;
    Ok((key, certificate))
}

/// What certificates say of the authority: the same whenever it is read again.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Remuda agents");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn lasting(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let epoch = date_time_ymd(1970, 1, 1);
    let since_epoch = |at: Timestamp| at.since(Timestamp::from_micros(0));
    params.not_before = epoch + since_epoch(from);
    params.not_after = epoch + since_epoch(until);
}

fn wrong(error: impl std::fmt::Display) -> NodeError {
    NodeError::Certificates(error.to_string())
}

/// A node's public key.
struct NodeKey([u8; POINT]);

impl NodeKey {
    fn new(bytes: &[u8]) -> Result<Self, NodeError> {
        match <[u8; POINT]>::try_from(bytes) {
            Ok(point) if point[0] == 4 => Ok(Self(point)),
            _ => Err(NodeError::NodeKey),
        }
    }
}

impl PublicKeyData for NodeKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}
