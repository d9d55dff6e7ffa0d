//! What is kept of versions: one file, there whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use agent_proto::{Manifest, UpdateKey, Version};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::AgentError;
use crate::files;

/// How many versions are kept: the one that runs, and the one before.
pub(super) const VERSIONS: usize = 2;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    /// Whose releases are taken.
    pub(super) key: Option<UpdateKey>,
    /// The newest one first.
    pub(super) versions: Vec<Installed>,
    /// Written before a version is tried, and taken away when that has ended.
    pub(super) trying: Option<Trying>,
    pub(super) failed: Option<Failed>,
    /// The greatest version that was ever kept and signed with the key: what is older than it does not come back over a link, also when
    /// its program is gone. Another key has numbers of its own.
    pub(super) highest: Option<Highest>,
    /// How often the first version was started since it was linked last.
    pub(super) starts: u32,
}

/// A version that others are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Highest(
    #[serde(serialize_with = "as_text", deserialize_with = "of_text")] pub(super) Version,
);

/// A version whose program is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Installed {
    #[serde(serialize_with = "as_text", deserialize_with = "of_text")]
    pub(super) version: Version,
    /// What was signed, looked at again before it is started.
    pub(super) manifest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trying {
    pub(super) attempt: String,
    #[serde(serialize_with = "as_text", deserialize_with = "of_text")]
    pub(super) version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) attempt: String,
    #[serde(serialize_with = "as_text", deserialize_with = "of_text")]
    pub(super) version: Version,
    pub(super) reason: String,
}

fn as_text<S: Serializer>(version: &Version, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(version)
}

fn of_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

impl Installed {
    pub(super) fn of(manifest: &Manifest) -> Self {
        Self {
            version: manifest.version,
            manifest: manifest.to_string(),
        }
    }
}

/// Returns where this is kept.
pub(super) fn file(directory: &Path) -> PathBuf {
    directory.join("updates.json")
}

/// Returns where a version's program is.
pub(super) fn path(directory: &Path, version: Version) -> PathBuf {
    directory.join(format!("remuda-{version}"))
}

impl Kept {
    /// Reads it; nothing is kept where there is no file.
    pub(super) fn load(directory: &Path) -> Result<Self, AgentError> {
        let path = file(directory);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(AgentError::files(path, &error)),
        };
        serde_json::from_slice(&text).map_err(|error| AgentError::Files {
            path,
            reason: format!(
                "cannot be read ({error}): delete it, and give the key again with --update-key"
            ),
        })
    }

    /// Returns the greatest version whose program is here, of those that are signed with the key.
    pub(super) fn highest_present(&self) -> Option<Highest> {
        let manifests = self.versions.iter();
        manifests
            .filter_map(|one| one.manifest.parse::<Manifest>().ok())
            .filter(|manifest| Some(manifest.key) == self.key)
            .map(|manifest| Highest(manifest.version))
            .max()
    }

    pub(super) fn save(&self, directory: &Path) -> Result<(), AgentError> {
        let path = file(directory);
        let text = serde_json::to_vec(self).map_err(io::Error::other);
        text.and_then(|text| files::replace(&path, &text))
            .map_err(|error| AgentError::files(path, &error))
    }
}
