//! Which node this machine is, with the key that proves it: one file that only its owner reads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_proto::v1;
use parking_lot::Mutex;
use primitives::{Clock, Secret, Timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::config::ControlPlane;
use crate::error::AgentError;
use crate::files;
use crate::tls;

/// The most control planes that an agent is linked to.
pub(crate) const MOST_CONTROL_PLANES: usize = 8;
/// The longest wait for a connection with TLS.
const DIAL_LIMIT: Duration = Duration::from_secs(10);

const FILE: &str = "membership.json";

/// The membership of this machine in a fleet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// Where the control plane that let this machine in listens for agents.
    pub control_plane: ControlPlane,
    /// Where the other control planes of the installation did when that was told last.
    #[serde(default)]
    pub(crate) others: Vec<ControlPlane>,
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
            others: Vec::new(),
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
            Err(error) => return Err(AgentError::files(path, &error)),
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
        files::replace(&path, &text).map_err(|error| AgentError::files(path, &error))
    }

    /// Returns where control planes listen: the one that let this machine in first, each once, 8 at most.
    pub(crate) fn control_planes(&self) -> Vec<ControlPlane> {
        let mut addresses = vec![self.control_plane.clone()];
        for other in &self.others {
            if addresses.len() < MOST_CONTROL_PLANES && !addresses.contains(other) {
                addresses.push(other.clone());
            }
        }
        addresses
    }

    /// Opens a connection over which the control plane asks and whoever holds it answers. Both sides have shown certificates.
    ///
    /// # Errors
    /// When nobody answers within 10 s, or what answers is not of the installation that this machine belongs to.
    pub async fn dial(
        &self,
        address: &ControlPlane,
        clock: &Arc<dyn Clock>,
    ) -> Result<TlsStream<TcpStream>, AgentError> {
        let config = tls::member(self, agent_proto::LINK, clock)?;
        timeout(DIAL_LIMIT, tls::connect(address, config))
            .await
            .map_err(|_| AgentError::Unreachable {
                address: address.to_string(),
                reason: format!("no answer within {} s", DIAL_LIMIT.as_secs()),
            })?
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

/// The membership of an agent at work: every change is on the disk before anybody sees it.
pub(crate) struct Kept {
    data_dir: PathBuf,
    latest: Mutex<Membership>,
}

impl Kept {
    pub(crate) fn new(data_dir: PathBuf, membership: Membership) -> Self {
        Self {
            data_dir,
            latest: Mutex::new(membership),
        }
    }

    pub(crate) fn latest(&self) -> Membership {
        self.latest.lock().clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Membership)) -> Result<(), AgentError> {
        let mut latest = self.latest.lock();
        let mut changed = latest.clone();
        change(&mut changed);
        changed.save(&self.data_dir)?;
        *latest = changed;
        Ok(())
    }
}

/// Makes a key for a certificate.
pub(crate) fn make_key() -> Result<KeyPair, AgentError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|error| AgentError::Certificate(error.to_string()))
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
    fn control_planes_are_known_once_each_and_bounded() {
        let mut ours = membership();
        let others = (0..20).map(|number| format!("h:{}", number / 2).parse().unwrap());
        ours.others = others.collect();
        let known = ours.control_planes();
        let known: Vec<&str> = known.iter().map(ControlPlane::as_str).collect();
        assert_eq!(
            known,
            ["h:1", "h:0", "h:2", "h:3", "h:4", "h:5", "h:6", "h:7"]
        );
    }

    #[test]
    fn what_an_older_version_kept_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        membership().save(directory.path()).unwrap();
        let path = Membership::path(directory.path());
        let mut kept: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(kept.as_object_mut().unwrap().remove("others").is_some());
        fs::write(&path, kept.to_string()).unwrap();
        let read = Membership::load(directory.path()).unwrap().unwrap();
        assert_eq!(read.control_planes().len(), 1);
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
