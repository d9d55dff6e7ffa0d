//! Which certificate authorities are trusted when nodes are called by https: Mozilla's, and those that an operator adds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use primitives::{Classify, ErrorKind};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// More than any bundle of authorities has, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The certificate authorities that are trusted. Mozilla's unless others are added.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    added: Arc<[CertificateDer<'static>]>,
}

/// Why a file of certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("the file of certificate authorities {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The text is not what it should be.
    #[error("{origin} is no list of certificate authorities: {reason}")]
    Invalid {
        /// The file, or what the text is.
        origin: String,
        /// What is wrong.
        reason: String,
    },
}

impl Classify for TrustError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn public_message(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                format!("{self}: correct the path, or let Remuda read the file")
            }
            Self::Invalid { .. } => format!(
                "{self}: write the certificates of your authorities there, each from -----BEGIN CERTIFICATE----- to \
                 -----END CERTIFICATE-----"
            ),
        }
    }
}

impl Trust {
    /// Adds the authorities of a PEM file, which may hold several.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 4 MiB, or holds no certificate or something that is not one.
    pub fn from_file(path: &Path) -> Result<Self, TrustError> {
        let unreadable = |source| TrustError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let origin = path.display().to_string();
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
            return Err(TrustError::Invalid {
                origin,
                reason: format!("it is larger than {MAX_BYTES} bytes"),
            });
        }
        Self::from_pem(&std::fs::read(path).map_err(unreadable)?, &origin)
    }

    /// Adds the authorities of a PEM text; `origin` names it in errors.
    ///
    /// # Errors
    /// When the text holds no certificate or something that is not one.
    pub fn from_pem(pem: &[u8], origin: &str) -> Result<Self, TrustError> {
        let invalid = |reason: String| TrustError::Invalid {
            origin: origin.to_owned(),
            reason,
        };
        let added: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| invalid(error.to_string()))?;
        if added.is_empty() {
            return Err(invalid("it holds no certificate".to_owned()));
        }
        let mut roots = rustls::RootCertStore::empty();
        for (place, certificate) in (1..).zip(&added) {
            roots.add(certificate.clone()).map_err(|error| {
                invalid(format!("certificate {place} cannot be used ({error})"))
            })?;
        }
        Ok(Self {
            added: added.into(),
        })
    }

    /// Returns how TLS is spoken to servers under this trust.
    ///
    /// # Errors
    /// When the cryptographic provider does not support the protocol versions, which no build of ours has shown.
    pub fn client_config(&self) -> Result<rustls::ClientConfig, rustls::Error> {
        let mut roots = rustls::RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        // Checked when they were added.
        roots.add_parsable_certificates(self.added.iter().cloned());
        Ok(
            rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_authority_is_refused_with_what_to_write() {
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, part) in [
            ("", "no certificate"),
            ("hello", "no certificate"),
            (junk, "certificate 1"),
            (
                "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
                "no list",
            ),
        ] {
            let error = Trust::from_pem(text.as_bytes(), "ca.pem").unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert!(error.public_message().contains("BEGIN CERTIFICATE"));
        }
        let error = Trust::from_file(Path::new("/nowhere/ca.pem")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/ca.pem"));
    }
}
