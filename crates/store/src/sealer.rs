//! Encryption at rest with AES-256-GCM.
//!
//! Envelope: `version (1) | key id (4) | nonce (12) | ciphertext and tag (16)`. The caller binds each envelope to its place
//! (table, column, row) as associated data, so that a sealed value moved to another row does not open.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

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

/// Seals and opens secrets. The keys never leave it.
///
/// What is new is sealed with the present key; what earlier keys have sealed can be opened as long as they are known. So a key can be
/// replaced while the program runs: first a new one seals ([`Sealer::renew_file`]), then everything is sealed anew, then all but the last
/// one before it are forgotten ([`Sealer::forget_older`]).
pub struct Sealer {
    keys: RwLock<Arc<Keys>>,
    /// Where the keys stand, unless the configuration gives them.
    file: Option<PathBuf>,
}

struct Keys {
    present: Key,
    previous: Vec<Arc<Key>>,
}

struct Key {
    key: RandomizedNonceKey,
    id: KeyId,
}

type KeyId = [u8; KEY_ID_BYTES];

/// The most keys of a file: one that seals, and those that are being replaced.
const MOST_KEYS: usize = 16;

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}

impl Key {
    fn from_base64(text: &str) -> Result<Self, SealError> {
        let bytes = STANDARD
            .decode(text.trim())
            .map(Zeroizing::new)
            .map_err(|_| SealError::MalformedKey)?;
        if bytes.len() != KEY_BYTES {
            return Err(SealError::MalformedKey);
        }
        let hash = digest::digest(&digest::SHA256, &bytes);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&hash.as_ref()[..KEY_ID_BYTES]);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| SealError::Cipher)?;
        Ok(Self { key, id })
    }
}

impl Keys {
    /// Takes the keys of a file: one a line, the one that seals first.
    fn of_lines(text: &str) -> Result<Self, SealError> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let present = Key::from_base64(lines.next().ok_or(SealError::MalformedKey)?)?;
        let previous = lines
            .take(MOST_KEYS)
            .map(|line| Key::from_base64(line).map(Arc::new));
        Ok(Self {
            present,
            previous: previous.collect::<Result<_, _>>()?,
        })
    }

    fn find(&self, id: KeyId) -> Option<&Key> {
        let previous = self.previous.iter().map(AsRef::as_ref);
        std::iter::once(&self.present)
            .chain(previous)
            .find(|key| key.id == id)
    }
}

impl Sealer {
    /// Takes the key as 32 bytes in base64, as an environment variable gives it.
    pub fn from_base64(key: &Secret<String>) -> Result<Self, SealError> {
        Self::from_configured(key, &[])
    }

    /// Takes the key that seals, and those that only open what was sealed before.
    pub fn from_configured(
        key: &Secret<String>,
        previous: &[Secret<String>],
    ) -> Result<Self, SealError> {
        let open = |key: &Secret<String>| Key::from_base64(key.expose());
        let previous = previous.iter().map(|key| open(key).map(Arc::new));
        let keys = Keys {
            present: open(key)?,
            previous: previous.collect::<Result<_, _>>()?,
        };
        Ok(Self {
            keys: RwLock::new(Arc::new(keys)),
            file: None,
        })
    }

    /// Reads the keys from a file. When the file is absent, makes a key and stores it there, readable by its owner only.
    pub fn open_or_create(path: &Path) -> Result<Self, SealError> {
        match Self::open_file(path) {
            Err(SealError::KeyFile { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create_key_file(path)?;
                Self::open_file(path)
            }
            outcome => outcome,
        }
    }

    /// Reads the keys from a file, which must be there.
    pub fn open_file(path: &Path) -> Result<Self, SealError> {
        let keys = Keys::of_lines(&read_key_file(path)?).map_err(|error| match error {
            SealError::MalformedKey => SealError::MalformedFile {
                path: path.display().to_string(),
            },
            other => other,
        })?;
        Ok(Self {
            keys: RwLock::new(Arc::new(keys)),
            file: Some(path.to_owned()),
        })
    }

    /// Names the key that seals: a part of its hash.
    pub fn key_id(&self) -> String {
        hex::encode(self.keys().present.id)
    }

    /// Returns how many keys only open.
    pub fn previous_keys(&self) -> usize {
        self.keys().previous.len()
    }

    /// Tells whether the key stands in a file of ours, so that it can be replaced without a change of the configuration.
    pub const fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Tells whether a value was sealed with a key that is being replaced.
    pub fn is_outdated(&self, envelope: &[u8]) -> bool {
        envelope.get(1..=KEY_ID_BYTES) != Some(&self.keys().present.id)
    }

    /// Makes another key, which seals from now on; the earlier ones go on opening. Without a file of keys nothing happens.
    ///
    /// # Errors
    /// When the file cannot be written: then nothing has changed.
    pub fn renew_file(&self) -> Result<(), SealError> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut *bytes).map_err(|_| SealError::Cipher)?;
        let before = read_key_file(path)?;
        let fresh = Zeroizing::new(STANDARD.encode(*bytes));
        let text = Zeroizing::new(format!("{}\n{}", *fresh, *before));
        self.replace_file(path, &text)
    }

    /// Forgets the keys that only open, but for the last one: what was being sealed with it while everything was sealed anew must
    /// stay readable until the next time. To be called when everything is sealed with the present key.
    ///
    /// # Errors
    /// When the file cannot be written: then they are still known.
    pub fn forget_older(&self) -> Result<(), SealError> {
        let Some(path) = &self.file else {
            return Ok(());
        };
        let before = read_key_file(path)?;
        let lines = before.lines().filter(|line| !line.trim().is_empty());
        let kept: Vec<&str> = lines.take(2).collect();
        let text = Zeroizing::new(kept.join("\n"));
        self.replace_file(path, &text)
    }

    fn replace_file(&self, path: &Path, text: &str) -> Result<(), SealError> {
        let keys = Keys::of_lines(text)?;
        let mut noise = [0; 8];
        rand::fill(&mut noise).map_err(|_| SealError::Cipher)?;
        let draft = path.with_added_extension(hex::encode(noise));
        write_private(&draft, text.as_bytes())
            .and_then(|()| std::fs::rename(&draft, path))
            .and_then(|()| sync_folder_of(path))
            .map_err(|source| key_file_error(path, source))?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Seals `plain`. `place` names where the result is stored, as in `nodes|credential|ID`.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let keys = self.keys();
        let mut sealed = plain.to_vec();
        let nonce = keys
            .present
            .key
            .seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut sealed)
            .map_err(|_| SealError::Cipher)?;
        let mut envelope = Vec::with_capacity(1 + KEY_ID_BYTES + NONCE_BYTES + sealed.len());
        envelope.push(VERSION);
        envelope.extend_from_slice(&keys.present.id);
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
        let keys = self.keys();
        let key = keys.find(*key_id).ok_or(SealError::OtherKey)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(SealError::Damaged)?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let plain = key
            .key
            .open_in_place(Nonce::from(nonce), Aad::from(place.as_bytes()), &mut buffer)
            .map_err(|_| SealError::Damaged)?;
        Ok(Secret::new(plain.to_vec()))
    }

    /// Seals a value with the present key when an earlier one has sealed it; `None` when there is nothing to do.
    pub fn reseal(&self, place: &str, envelope: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        if !self.is_outdated(envelope) {
            return Ok(None);
        }
        let plain = self.open(place, envelope)?;
        self.seal(place, plain.expose()).map(Some)
    }
}

fn key_file_error(path: &Path, source: io::Error) -> SealError {
    SealError::KeyFile {
        path: path.display().to_string(),
        source,
    }
}

fn read_key_file(path: &Path) -> Result<Zeroizing<String>, SealError> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)
        .and_then(|file| file.take(4096).read_to_string(&mut text))
        .map_err(|source| key_file_error(path, source))?;
    Ok(text)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if folder != Path::new("") => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
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
        .and_then(|()| sync_folder_of(path));
    stored.map_err(|source| key_file_error(path, source))
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
    fn a_key_is_replaced_while_what_it_sealed_stays_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let sealer = Sealer::open_or_create(&path).unwrap();
        let (first, old) = (sealer.key_id(), sealer.seal("p", b"x").unwrap());
        sealer.renew_file().unwrap();
        assert_ne!(sealer.key_id(), first);
        // Also for a process that is started in the middle of it.
        for sealer in [&sealer, &Sealer::open_or_create(&path).unwrap()] {
            assert_eq!(sealer.open("p", &old).unwrap().expose(), b"x");
            assert_eq!(sealer.previous_keys(), 1);
        }
        let new = sealer.reseal("p", &old).unwrap().unwrap();
        assert!(sealer.reseal("p", &new).unwrap().is_none());
        sealer.forget_older().unwrap();
        assert_eq!(sealer.open("p", &old).unwrap().expose(), b"x");
        sealer.renew_file().unwrap();
        sealer.forget_older().unwrap();
        for sealer in [&sealer, &Sealer::open_or_create(&path).unwrap()] {
            assert_eq!(sealer.open("p", &new).unwrap().expose(), b"x");
            assert!(matches!(sealer.open("p", &old), Err(SealError::OtherKey)));
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_configured_key_opens_what_its_predecessors_sealed() {
        let text = |byte: u8| Secret::new(STANDARD.encode([byte; KEY_BYTES]));
        let old = key(1).seal("p", b"x").unwrap();
        let both = Sealer::from_configured(&text(2), &[text(1)]).unwrap();
        assert_eq!(both.open("p", &old).unwrap().expose(), b"x");
        let new = both.reseal("p", &old).unwrap().unwrap();
        assert_eq!(key(2).open("p", &new).unwrap().expose(), b"x");
        both.renew_file().unwrap();
        assert_eq!(both.key_id(), key(2).key_id(), "the configuration decides");
    }

    #[test]
    fn processes_that_start_together_share_one_key_and_leave_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Sealer::open_or_create(&path).unwrap().key_id()))
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
