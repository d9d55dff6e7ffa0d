//! The stored sign-in: `remuda/credentials.toml` in the user's configuration directory, readable by its owner only.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use primitives::{Secret, Timestamp};
use serde::Deserialize;

use super::error::ClientError;
use crate::config::Environment;

/// A sign-in at one server.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Credential {
    /// The access token; for sign-ins of earlier versions, the session's only token.
    pub(crate) token: Secret<String>,
    /// When the access token ends, as RFC 3339.
    pub(crate) token_expires_at: Option<String>,
    /// What to get the next access token with; works once.
    pub(crate) refresh_token: Option<Secret<String>>,
    /// Who signed in.
    pub(crate) username: String,
    /// When the session ends, as RFC 3339.
    pub(crate) expires_at: Option<String>,
}

impl Credential {
    /// Tells whether the access token has ended, or ends within half a minute.
    pub(crate) fn is_stale(&self, now: Timestamp) -> bool {
        self.token_expires_at
            .as_deref()
            .and_then(Timestamp::parse_rfc3339)
            .is_some_and(|end| end <= now.after(Duration::from_secs(30)))
    }
}

#[derive(Debug, Default, Deserialize)]
struct Stored {
    #[serde(default)]
    servers: BTreeMap<String, Credential>,
}

/// Sign-ins by server address.
#[derive(Clone, Debug)]
pub(crate) struct CredentialStore {
    path: PathBuf,
}

impl CredentialStore {
    /// Finds the store; `None` without a home directory.
    pub(crate) fn of_user(environment: &Environment) -> Option<Self> {
        environment.config_home().map(|home| Self {
            path: home.join("remuda").join("credentials.toml"),
        })
    }

    /// Returns the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the sign-in at `server`.
    pub(crate) fn find(&self, server: &str) -> Result<Option<Credential>, ClientError> {
        Ok(self.load()?.servers.remove(server))
    }

    /// Keeps a sign-in, replacing an earlier one at the same server.
    pub(crate) fn insert(&self, server: &str, credential: Credential) -> Result<(), ClientError> {
        let mut stored = self.load()?;
        stored.servers.insert(server.to_owned(), credential);
        self.save(&stored)
    }

    /// Keeps other processes from refreshing a sign-in until the result is dropped: a refresh token works only once.
    pub(crate) fn lock(&self) -> Result<fs::File, ClientError> {
        let path = self.path.with_extension("lock");
        fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| self.error(&format!("{}: {error}", path.display())))
    }

    /// Forgets the sign-in at `server`. Returns false when there was none.
    pub(crate) fn remove(&self, server: &str) -> Result<bool, ClientError> {
        let mut stored = self.load()?;
        let found = stored.servers.remove(server).is_some();
        if found {
            self.save(&stored)?;
        }
        Ok(found)
    }

    fn load(&self) -> Result<Stored, ClientError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => toml::from_str(&text).map_err(|_| {
                self.error("it is not a credentials file: remove it and sign in again")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Stored::default()),
            Err(error) => Err(self.error(&error.to_string())),
        }
    }

    /// Writes a new file beside the old one and moves it into place, so that a crash leaves one of the two whole.
    fn save(&self, stored: &Stored) -> Result<(), ClientError> {
        let text = render(stored);
        let fresh = self.path.with_extension("toml.new");
        let write = || -> io::Result<()> {
            if let Some(directory) = self.path.parent() {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(directory)?;
            }
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)
        };
        write().map_err(|error| self.error(&error.to_string()))
    }

    fn error(&self, reason: &str) -> ClientError {
        ClientError::Credentials {
            path: self.path.display().to_string(),
            reason: reason.to_owned(),
        }
    }
}

fn render(stored: &Stored) -> String {
    let mut servers = toml::Table::new();
    for (server, credential) in &stored.servers {
        let mut entry = toml::Table::new();
        entry.insert("token".to_owned(), credential.token.expose().clone().into());
        if let Some(refresh_token) = &credential.refresh_token {
            entry.insert(
                "refresh_token".to_owned(),
                refresh_token.expose().clone().into(),
            );
        }
        if let Some(ends) = &credential.token_expires_at {
            entry.insert("token_expires_at".to_owned(), ends.clone().into());
        }
        entry.insert("username".to_owned(), credential.username.clone().into());
        if let Some(expires_at) = &credential.expires_at {
            entry.insert("expires_at".to_owned(), expires_at.clone().into());
        }
        servers.insert(server.clone(), entry.into());
    }
    let document = toml::Table::from_iter([("servers".to_owned(), toml::Value::Table(servers))]);
    format!("# Written by `remuda login`. Keep it secret.\n{document}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn sign_ins_are_kept_per_server_and_for_the_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let environment: Environment = [("HOME".to_owned(), home.path().display().to_string())]
            .into_iter()
            .collect();
        let store = CredentialStore::of_user(&environment).unwrap();
        assert!(store.find("http://a").unwrap().is_none());
        for (server, username) in [
            ("http://a", "ana"),
            ("http://b", "ben"),
            ("http://a", "amy"),
        ] {
            store
                .insert(
                    server,
                    Credential {
                        token: Secret::new(format!("ey{username}")),
                        token_expires_at: Some("2026-01-01T00:00:00Z".to_owned()),
                        refresh_token: Some(Secret::new(format!("rmr_{username}"))),
                        username: username.to_owned(),
                        expires_at: Some("2026-01-01T00:00:00Z".to_owned()),
                    },
                )
                .unwrap();
        }
        let found = store.find("http://a").unwrap().unwrap();
        assert_eq!(
            (found.username.as_str(), found.token.expose().as_str()),
            ("amy", "eyamy")
        );
        assert_eq!(found.refresh_token.as_ref().unwrap().expose(), "rmr_amy");
        let end = Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        assert!(found.is_stale(end) && !found.is_stale(end.before(Duration::from_mins(1))));
        let mode = fs::metadata(store.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(store.remove("http://a").unwrap());
        assert!(!store.remove("http://a").unwrap());
        assert!(store.find("http://b").unwrap().is_some());
    }

    #[test]
    fn a_sign_in_of_an_earlier_version_is_read() {
        let text = "[servers.\"http://a\"]\ntoken = \"rms_x\"\nusername = \"ana\"\nexpires_at = \"2026-01-01T00:00:00Z\"\n";
        let stored: Stored = toml::from_str(text).unwrap();
        let credential = &stored.servers["http://a"];
        assert!(credential.refresh_token.is_none());
        assert!(!credential.is_stale(Timestamp::parse_rfc3339("2027-01-01T00:00:00Z").unwrap()));
    }
}
