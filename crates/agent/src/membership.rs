//! Which node this machine is, with the key that proves it: one file that only its owner reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_proto::v1;
use primitives::{Secret, Timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};

use crate::config::ControlPlane;
use crate::error::AgentError;

const FILE: &str = "membership.json";

/// The membership of this machine in a fleet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// Where the control plane listens for agents.
    pub control_plane: ControlPlane,
    /// The node's id.
    pub node_id: String,
    /// The node's name when it joined.
    pub node_name: String,
    pub(crate) certificate: Vec<u8>,
    pub(crate) authority: Vec<u8>,
    key: StoredKey,
    not_before: i64,
    not_after: i64,
}

/// The private key (PKCS #8), shown in no log.
#[derive(Clone, Debug)]
struct StoredKey(Secret<Vec<u8>>);

impl Serialize for StoredKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.expose().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StoredKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|key| Self(Secret::new(key)))
    }
}

impl Membership {
    /// Takes what a control plane issued for a key.
    pub(crate) fn new(control_plane: ControlPlane, issued: v1::Membership, key: &KeyPair) -> Self {
        Self {
            control_plane,
            node_id: issued.node_id,
            node_name: issued.node_name,
            certificate: issued.certificate.to_vec(),
            authority: issued.authority.to_vec(),
            key: StoredKey(Secret::new(key.serialize_der())),
            not_before: issued.not_before,
            not_after: issued.not_after,
        }
    }

    /// Reads the membership; `None` where there is none.
    ///
    /// # Errors
    /// When the file is there and cannot be used.
    pub fn load(data_dir: &Path) -> Result<Option<Self>, AgentError> {
        let path = Self::path(data_dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(files(path, &error)),
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| AgentError::Files {
                path,
                reason: format!("cannot be read ({error}): delete it and join anew"),
            })
    }

    /// Writes the membership so that it is there whole or not at all, readable by its owner alone.
    pub(crate) fn save(&self, data_dir: &Path) -> Result<(), AgentError> {
        let path = Self::path(data_dir);
        let text = serde_json::to_vec(self).map_err(|error| AgentError::Files {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let fresh = path.with_extension("new");
        let write = || -> io::Result<()> {
            fs::create_dir_all(data_dir)?;
            let mut file = open_private(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(data_dir)?.sync_all()
        };
        write().map_err(|error| files(path.clone(), &error))
    }

    /// Returns where the membership is kept.
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE)
    }

    /// Returns the private key (PKCS #8).
    pub(crate) fn key(&self) -> &[u8] {
        self.key.0.expose()
    }

    /// Returns when the certificate should be renewed: at the beginning of its last third.
    pub(crate) fn renew_at(&self) -> Timestamp {
        let whole = self.not_after.saturating_sub(self.not_before).max(0);
        let at = self.not_after.saturating_sub(whole / 3);
        Timestamp::from_micros(at.saturating_mul(1_000_000))
    }

    /// Returns how long to wait until the certificate should be renewed.
    pub(crate) fn renew_in(&self, now: Timestamp) -> Duration {
        self.renew_at().since(now)
    }
}

/// Makes a key for a certificate.
pub(crate) fn make_key() -> Result<KeyPair, AgentError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|error| AgentError::Certificate(error.to_string()))
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    // One that a crash left behind may have other rights.
    drop(fs::remove_file(path));
    options.open(path)
}

fn files(path: PathBuf, error: &io::Error) -> AgentError {
    AgentError::Files {
        path,
        reason: format!(
            "{error}: choose another directory with --data, or give this user rights to it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let issued = v1::Membership {
            node_id: "id".to_owned(),
            node_name: "gpu1".to_owned(),
            certificate: vec![1].into(),
            authority: vec![2].into(),
            not_before: 1_000_000,
            not_after: 1_000_000 + 30 * 86_400,
        };
        Membership::new("h:1".parse().unwrap(), issued, &make_key().unwrap())
    }

    #[test]
    fn the_file_is_its_owners_alone_and_reads_back() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        assert!(Membership::load(directory.path()).unwrap().is_none());
        let ours = membership();
        ours.save(directory.path()).unwrap();
        let path = Membership::path(directory.path());
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let read = Membership::load(directory.path()).unwrap().unwrap();
        assert_eq!((read.node_name.as_str(), read.key()), ("gpu1", ours.key()));
        fs::write(&path, "{").unwrap();
        let error = Membership::load(directory.path()).unwrap_err().to_string();
        assert!(error.contains("join anew"), "{error}");
    }

    #[test]
    fn a_certificate_is_renewed_in_its_last_third() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let ours = membership();
        assert_eq!(ours.renew_at(), at(1_000_000 + 20 * 86_400));
        assert_eq!(ours.renew_in(at(1_000_000)), Duration::from_hours(20 * 24));
        assert_eq!(ours.renew_in(at(1_000_000 + 25 * 86_400)), Duration::ZERO);
        assert!(!format!("{ours:?}").contains(&format!("{:?}", ours.key())));
    }
}
