//! A certificate with its key, as two PEM files hold them.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use primitives::{Classify, ErrorKind, Timestamp};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::{InconsistentKeys, ServerConfig};

use super::validity::{Validity, validity};

/// More than any chain of certificates or any key has, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// What is agreed on with clients that ask.
const HTTP_1_1: &[u8] = b"http/1.1";

/// A certificate that can be shown to clients, checked.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(super) config: Arc<ServerConfig>,
    validity: Validity,
    names: Vec<String>,
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no usable {what}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The key is another certificate's.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// The certificate is not valid any more.
    #[error("the certificate in {} ended on {}", path.display(), day(*.on))]
    Ended {
        /// The file.
        path: PathBuf,
        /// When it ended.
        on: Timestamp,
    },
    /// The certificate is not valid yet.
    #[error("the certificate in {} begins on {}", path.display(), day(*.on))]
    NotYet {
        /// The file.
        path: PathBuf,
        /// When it begins.
        on: Timestamp,
    },
}

impl Classify for CertificateError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn public_message(&self) -> String {
        let advice = match self {
            Self::Unreadable { .. } => "correct the path, or let Remuda read the file",
            Self::Invalid { .. } => {
                "tls_cert names a PEM file with the server's certificate and then those that lead to its authority, tls_key one with its \
                 key without a password"
            }
            Self::Mismatch { .. } => "name the key that the certificate was made for",
            Self::Ended { .. } => "renew it",
            Self::NotYet { .. } => "correct this machine's clock, or wait",
        };
        format!("{self}: {advice}")
    }
}

impl Certificate {
    /// Reads a chain of certificates and the key of its first, and checks that they can be used at `now`.
    ///
    /// # Errors
    /// When a file cannot be read, is larger than 1 MiB or holds something else, when the two do not belong together, and when the
    /// certificate is not valid now.
    pub fn load(certificate: &Path, key: &Path, now: Timestamp) -> Result<Self, CertificateError> {
        let invalid = |path: &Path, what, reason: String| CertificateError::Invalid {
            path: path.to_owned(),
            what,
            reason,
        };
        let no_certificate = |reason: String| invalid(certificate, "certificate", reason);
        let no_key = |reason: String| invalid(key, "key", reason);
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&read(certificate, "certificate")?)
                .collect::<Result<_, _>>()
                .map_err(|error| no_certificate(explain(&error)))?;
        let Some(own) = chain.first() else {
            return Err(no_certificate("there is none in it".to_owned()));
        };
        let validity =
            validity(own).ok_or_else(|| no_certificate("its dates cannot be read".to_owned()))?;
        let names = webpki::EndEntityCert::try_from(own)
            .map_err(|error| no_certificate(error.to_string()))?
            .valid_dns_names()
            .map(str::to_owned)
            .collect();
        let secret = PrivateKeyDer::from_pem_slice(&read(key, "key")?)
            .map_err(|error| no_key(explain(&error)))?;
        let config = config(chain, secret).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CertificateError::Mismatch {
                    certificate: certificate.to_owned(),
                    key: key.to_owned(),
                }
            }
            error => no_key(error.to_string()),
        })?;
        if now > validity.not_after {
            return Err(CertificateError::Ended {
                path: certificate.to_owned(),
                on: validity.not_after,
            });
        }
        if now < validity.not_before {
            return Err(CertificateError::NotYet {
                path: certificate.to_owned(),
                on: validity.not_before,
            });
        }
        Ok(Self {
            config: Arc::new(config),
            validity,
            names,
        })
    }

    /// Returns when it ends.
    pub fn ends(&self) -> Timestamp {
        self.validity.not_after
    }

    /// Returns how long it is still valid, zero when it has ended.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        self.validity.not_after.since(now)
    }

    /// Returns the names of servers that it is for, wildcards included; addresses are not listed.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    // Clients that come again keep the ticket, not this server: nothing grows with their number.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |source| CertificateError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(CertificateError::Invalid {
            path: path.to_owned(),
            what,
            reason: format!("it is larger than {MAX_BYTES} bytes"),
        });
    }
    Ok(bytes)
}

fn explain(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "there is none in it".to_owned(),
        error => error.to_string(),
    }
}

fn day(time: Timestamp) -> String {
    let text = time.to_rfc3339();
    text.split('T').next().unwrap_or_default().to_owned()
}
