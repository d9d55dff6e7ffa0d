//! Encryption at rest with AES-256-GCM.
//!
//! Envelope: `version (1) | key id (4) | nonce (12) | ciphertext and tag (16)`. The caller binds each envelope to its place
//! (table, column, row) as associated data, so that a sealed value moved to another row does not open.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use primitives::{Classify, ErrorKind, Secret};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;

/// Why a value could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or made.
    #[error("cannot use the key file {path}")]
    KeyFile {
        /// The file.
        path: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The key is not 32 bytes in base64.
    #[error("the encryption key is not 32 bytes in base64")]
    MalformedKey,
    /// The key file does not hold 32 bytes in base64.
    #[error("the key file {path} does not hold 32 bytes in base64")]
    MalformedFile {
        /// The file.
        path: String,
    },
    /// The value was sealed with another key.
    #[error("the value was sealed with another key")]
    OtherKey,
    /// The value was changed, moved to another place, or is no sealed value at all.
    #[error("the sealed value is damaged")]
    Damaged,
    /// The cryptographic library refused.
    #[error("encryption failed")]
    Cipher,
}

impl Classify for SealError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::KeyFile { .. }
            | Self::MalformedKey
            | Self::MalformedFile { .. }
            | Self::OtherKey => ErrorKind::Unavailable,
            Self::Damaged | Self::Cipher => ErrorKind::Bug,
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::KeyFile { .. } => format!("{self}: make it readable and writable for this user"),
            Self::MalformedKey => format!("{self}: `openssl rand -base64 32` makes one"),
            Self::MalformedFile { .. } => format!(
                "{self}: restore it from a backup, or remove it and enter the nodes' credentials again"
            ),
            Self::OtherKey => {
                format!(
                    "{self}: start with the key that this database was made with, or enter the credential again"
                )
            }
            Self::Damaged | Self::Cipher => format!("{self}: enter the credential again"),
        }
    }
}

/// Seals and opens secrets. The key never leaves it.
pub struct Sealer {
    key: RandomizedNonceKey,
    key_id: [u8; KEY_ID_BYTES],
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("key_id", &hex::encode(self.key_id))
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// Takes the key as 32 bytes in base64, as an environment variable gives it.
    pub fn from_base64(key: &Secret<String>) -> Result<Self, SealError> {
        let bytes = Zeroizing::new(
            STANDARD
                .decode(key.expose().trim())
                .map_err(|_| SealError::MalformedKey)?,
        );
        Self::from_bytes(&bytes)
    }

    /// Reads the key from a file. When the file is absent, makes a key and stores it there, readable by its owner only.
    pub fn open_or_create(path: &Path) -> Result<Self, SealError> {
        let failed = |source| SealError::KeyFile {
            path: path.display().to_string(),
            source,
        };
        let mut text = Zeroizing::new(String::new());
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_key_file(path)?;
                File::open(path)
            }
            outcome => outcome,
        };
        file.and_then(|file| file.take(1024).read_to_string(&mut text))
            .map_err(failed)?;
        STANDARD
            .decode(text.trim())
            .map(Zeroizing::new)
            .map_err(|_| SealError::MalformedKey)
            .and_then(|bytes| Self::from_bytes(&bytes))
            .map_err(|error| match error {
                SealError::MalformedKey => SealError::MalformedFile {
                    path: path.display().to_string(),
                },
                other => other,
            })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        if bytes.len() != KEY_BYTES {
            return Err(SealError::MalformedKey);
        }
        let hash = digest::digest(&digest::SHA256, bytes);
        let mut key_id = [0; KEY_ID_BYTES];
        key_id.copy_from_slice(&hash.as_ref()[..KEY_ID_BYTES]);
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| SealError::Cipher)?;
        Ok(Self { key, key_id })
    }

    /// Seals `plain`. `place` names where the result is stored, as in `nodes|credential|ID`.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut sealed)
            .map_err(|_| SealError::Cipher)?;
        let mut envelope = Vec::with_capacity(1 + KEY_ID_BYTES + NONCE_BYTES + sealed.len());
        envelope.push(VERSION);
        envelope.extend_from_slice(&self.key_id);
        envelope.extend_from_slice(nonce.as_ref());
        envelope.append(&mut sealed);
        Ok(envelope)
    }

    /// Opens what [`Sealer::seal`] made for the same place.
    pub fn open(&self, place: &str, envelope: &[u8]) -> Result<Secret<Vec<u8>>, SealError> {
        let (&version, rest) = envelope.split_first().ok_or(SealError::Damaged)?;
        if version != VERSION {
            return Err(SealError::Damaged);
        }
        let (key_id, rest) = rest
            .split_first_chunk::<KEY_ID_BYTES>()
            .ok_or(SealError::Damaged)?;
        if *key_id != self.key_id {
            return Err(SealError::OtherKey);
        }
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(SealError::Damaged)?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let plain = self
            .key
            .open_in_place(Nonce::from(nonce), Aad::from(place.as_bytes()), &mut buffer)
            .map_err(|_| SealError::Damaged)?;
        Ok(Secret::new(plain.to_vec()))
    }
}

/// Makes a key and stores it where there is none. The file appears whole or not at all, and never replaces another's.
fn create_key_file(path: &Path) -> Result<(), SealError> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let mut noise = [0; 8];
    rand::fill(&mut *bytes)
        .and_then(|()| rand::fill(&mut noise))
        .map_err(|_| SealError::Cipher)?;
    let text = Zeroizing::new(STANDARD.encode(*bytes));
    let draft = path.with_added_extension(hex::encode(noise));
    let stored = write_private(&draft, text.as_bytes())
        .and_then(|()| match std::fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            outcome => outcome,
        })
        .and(std::fs::remove_file(&draft))
        // A key that is lost with the power would make everything sealed with it unreadable.
        .and_then(|()| match path.parent() {
            Some(folder) if folder != Path::new("") => File::open(folder)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        });
    stored.map_err(|source| SealError::KeyFile {
        path: path.display().to_string(),
        source,
    })
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn key(byte: u8) -> Sealer {
        Sealer::from_base64(&Secret::new(STANDARD.encode([byte; KEY_BYTES]))).unwrap()
    }

    #[test]
    fn a_sealed_value_opens_only_in_its_place_and_with_its_key() {
        let sealer = key(1);
        let envelope = sealer.seal("nodes|credential|a", b"hunter2").unwrap();
        assert!(!envelope.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(
            sealer
                .open("nodes|credential|a", &envelope)
                .unwrap()
                .expose(),
            b"hunter2"
        );
        assert!(matches!(
            sealer.open("nodes|credential|b", &envelope),
            Err(SealError::Damaged)
        ));
        assert!(matches!(
            key(2).open("nodes|credential|a", &envelope),
            Err(SealError::OtherKey)
        ));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let sealer = key(1);
        let envelope = sealer.seal("p", b"secret").unwrap();
        for index in 0..envelope.len() {
            let mut changed = envelope.clone();
            changed[index] ^= 1;
            assert!(sealer.open("p", &changed).is_err());
            assert!(sealer.open("p", &envelope[..index]).is_err());
        }
    }

    #[test]
    fn equal_values_are_sealed_differently() {
        let sealer = key(1);
        assert_ne!(
            sealer.seal("p", b"x").unwrap(),
            sealer.seal("p", b"x").unwrap()
        );
    }

    #[test]
    fn the_key_file_is_private_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let envelope = Sealer::open_or_create(&path)
            .unwrap()
            .seal("p", b"x")
            .unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = Sealer::open_or_create(&path).unwrap();
        assert_eq!(again.open("p", &envelope).unwrap().expose(), b"x");
        std::fs::write(&path, "not a key").unwrap();
        assert!(matches!(
            Sealer::open_or_create(&path),
            Err(SealError::MalformedFile { .. })
        ));
    }

    #[test]
    fn processes_that_start_together_share_one_key_and_leave_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Sealer::open_or_create(&path).unwrap().key_id))
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
