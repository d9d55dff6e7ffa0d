//! Releases of the agent: a program, and a text that says what it is and who vouches for it.
//!
//! The text names version, target, size and SHA-256 of the program and the key, and is signed with it (Ed25519, RFC 8032) as a whole, first
//! line included, so that no signature for something else can stand in its place. The key that signs never needs to be where releases
//! are given out: agents believe the one public key that they were started with.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use crate::version::Version;

/// The largest program, in bytes.
pub const MOST_RELEASE_BYTES: u64 = 256 << 20;
/// The longest text of a release, in bytes.
pub const MOST_MANIFEST_BYTES: usize = 1_024;

const HEAD: &str = "remuda agent release 1";
/// What the text of a public key begins with, so that it is recognised wherever it turns up.
const KEY_PREFIX: &str = "rmdk_";
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
/// The longest target.
const MOST_TARGET: usize = 40;

/// The public key that an agent believes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UpdateKey([u8; KEY_BYTES]);

/// The key that signs releases.
pub struct SigningKey(Ed25519KeyPair);

/// SHA-256 of a program, 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256([u8; 32]);

/// Hashes a program as it comes.
#[derive(Clone)]
pub struct Hashing(digest::Context);

/// What a release is, by the word of who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The program's version.
    pub version: Version,
    /// What it runs on, as [`own_target`] names it.
    pub target: String,
    /// Its size in bytes, 1 to [`MOST_RELEASE_BYTES`].
    pub size: u64,
    /// Its hash.
    pub sha256: Sha256,
    /// Whose signature it is.
    pub key: UpdateKey,
    signature: [u8; SIGNATURE_BYTES],
}

/// Why something is no release, or no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The text is not as it must be.
    #[error(
        "that is not what `remuda agent-release sign` writes ({0}): take the .sig file as it was written"
    )]
    Text(&'static str),
    /// The signature is not that of the key for this text.
    #[error(
        "the signature does not fit: the text was changed after it had been signed, or somebody else has signed it"
    )]
    Signature,
    /// The text of a public key is none.
    #[error(
        "that is no key for updates: copy the whole text that `remuda agent-release keygen` printed; it begins with {KEY_PREFIX}"
    )]
    Key,
    /// The file of a signing key is none.
    #[error(
        "that is no key that signs: give the file that `remuda agent-release keygen` wrote (Ed25519, PKCS #8, PEM)"
    )]
    SigningKey,
    /// What is to be signed cannot be a release.
    #[error("{0}")]
    Program(String),
}

/// Returns what this program runs on: operating system and architecture, as `linux-x86_64`.
pub fn own_target() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Finds out what a program runs on, by the head of its file (ELF; Mach-O of one architecture).
pub fn find_target(program: &[u8]) -> Option<String> {
    let target = match program.get(..20)? {
        // The machine of an ELF file that is little-endian: two bytes at 18.
        [0x7f, b'E', b'L', b'F', 2, 1, .., 0x3e, 0] => "linux-x86_64",
        [0x7f, b'E', b'L', b'F', 2, 1, .., 0xb7, 0] => "linux-aarch64",
        [0x7f, b'E', b'L', b'F', 2, 1, .., 0xf3, 0] => "linux-riscv64",
        [0xcf, 0xfa, 0xed, 0xfe, 0x07, 0, 0, 1, ..] => "macos-x86_64",
        [0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 1, ..] => "macos-aarch64",
        _ => return None,
    };
    Some(target.to_owned())
}

impl SigningKey {
    /// Makes a key.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self, ReleaseError> {
        Ed25519KeyPair::generate()
            .map(Self)
            .map_err(|_| ReleaseError::SigningKey)
    }

    /// Reads a key from the text of its file: PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it, too.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_pem(text: &[u8]) -> Result<Self, ReleaseError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|_| ReleaseError::SigningKey)?;
        Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der())
            .map(Self)
            .map_err(|_| ReleaseError::SigningKey)
    }

    /// Writes the key as the text of its file. It is a secret.
    ///
    /// # Errors
    /// When the library cannot write it.
    pub fn to_pem(&self) -> Result<String, ReleaseError> {
        let der = self.0.to_pkcs8v1().map_err(|_| ReleaseError::SigningKey)?;
        let body = STANDARD.encode(der.as_ref());
        Ok(format!(
            "-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"
        ))
    }

    /// Returns the key that agents are told.
    pub fn update_key(&self) -> UpdateKey {
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(self.0.public_key().as_ref());
        UpdateKey(key)
    }

    /// Vouches for a program.
    ///
    /// # Errors
    /// When it is too large, or its target is none.
    pub fn sign(
        &self,
        version: Version,
        target: &str,
        program: &[u8],
    ) -> Result<Manifest, ReleaseError> {
        let mut hashing = Hashing::default();
        hashing.update(program);
        let mut manifest = Manifest {
            version,
            target: target.to_owned(),
            size: program.len() as u64,
            sha256: hashing.finish(),
            key: self.update_key(),
            signature: [0; SIGNATURE_BYTES],
        };
        manifest.check().map_err(|wrong| {
            ReleaseError::Program(format!("no release can be made of it: {wrong}"))
        })?;
        let signature = self.0.sign(manifest.statement().as_bytes());
        manifest.signature.copy_from_slice(signature.as_ref());
        Ok(manifest)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(secret)")
    }
}

impl Manifest {
    /// What is signed.
    fn statement(&self) -> String {
        format!(
            "{HEAD}\nversion {}\ntarget {}\nsize {}\nsha256 {}\nkey {}\n",
            self.version, self.target, self.size, self.sha256, self.key
        )
    }

    fn check(&self) -> Result<(), &'static str> {
        let is_target = !self.target.is_empty()
            && self.target.len() <= MOST_TARGET
            && self
                .target
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !is_target {
            return Err("a target is an operating system and an architecture, as linux-x86_64");
        }
        if !(1..=MOST_RELEASE_BYTES).contains(&self.size) {
            return Err("a program has 1 to 268435456 bytes");
        }
        Ok(())
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = STANDARD.encode(self.signature);
        writeln!(f, "{}signature {signature}", self.statement())
    }
}

impl FromStr for Manifest {
    type Err = ReleaseError;

    /// Reads the text, and checks that whoever has the key that it names has signed it. Whether that key is to be believed is another matter.
    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        if text.len() > MOST_MANIFEST_BYTES {
            return Err(ReleaseError::Text("it is too long"));
        }
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(ReleaseError::Text("another first line"));
        }
        let mut value = |name: &'static str| {
            let line = lines.next().unwrap_or_default();
            let value = line
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix(' '));
            value.ok_or(ReleaseError::Text(name))
        };
        let version = value("version")?.parse();
        let target = value("target")?.to_owned();
        let size = value("size")?.parse();
        let sha256 = value("sha256")?.parse::<Sha256>();
        let key = value("key")?.parse()?;
        let signature = STANDARD.decode(value("signature")?).ok();
        let manifest = Self {
            version: version.map_err(|_| ReleaseError::Text("version"))?,
            target,
            size: size.map_err(|_| ReleaseError::Text("size"))?,
            sha256: sha256?,
            key,
            signature: signature
                .and_then(|signature| signature.try_into().ok())
                .ok_or(ReleaseError::Text("signature"))?,
        };
        manifest.check().map_err(ReleaseError::Text)?;
        // What was read is what was signed only where writing it gives the same text.
        if manifest.to_string().trim_end() != text.trim_end() {
            return Err(ReleaseError::Text("something else stands in it"));
        }
        UnparsedPublicKey::new(&ED25519, manifest.key.0)
            .verify(manifest.statement().as_bytes(), &manifest.signature)
            .map_err(|_| ReleaseError::Signature)?;
        Ok(manifest)
    }
}

impl Hashing {
    /// Adds to what is hashed.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// Returns the hash of all of it.
    pub fn finish(self) -> Sha256 {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.0.finish().as_ref());
        Sha256(sha256)
    }
}

impl Default for Hashing {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashing")
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Sha256 {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let mut sha256 = [0; 32];
        hex::decode_to_slice(text, &mut sha256).map_err(|_| ReleaseError::Text("sha256"))?;
        Ok(Self(sha256))
    }
}

impl fmt::Display for UpdateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for UpdateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for UpdateKey {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let encoded = text.trim().strip_prefix(KEY_PREFIX);
        let key = encoded.and_then(|encoded| URL_SAFE_NO_PAD.decode(encoded).ok());
        let key = key.and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(ReleaseError::Key)
    }
}

impl TryFrom<String> for UpdateKey {
    type Error = ReleaseError;

    fn try_from(text: String) -> Result<Self, ReleaseError> {
        text.parse()
    }
}

impl From<UpdateKey> for String {
    fn from(key: UpdateKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> (SigningKey, Manifest) {
        let key = SigningKey::generate().unwrap();
        let manifest = key.sign("0.2.0".parse().unwrap(), "linux-x86_64", b"program");
        (key, manifest.unwrap())
    }

    #[test]
    fn what_was_signed_reads_back_and_its_key_survives_its_file() {
        let (key, manifest) = signed();
        let text = manifest.to_string();
        assert_eq!(text.parse(), Ok(manifest.clone()));
        assert!(text.len() < MOST_MANIFEST_BYTES, "{}", text.len());
        let again = SigningKey::from_pem(key.to_pem().unwrap().as_bytes()).unwrap();
        assert_eq!(again.update_key(), key.update_key());
        assert_eq!(again.update_key().to_string().parse(), Ok(manifest.key));
        assert_eq!(format!("{key:?}"), "SigningKey(secret)");
        assert_eq!(
            SigningKey::from_pem(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
                .unwrap_err(),
            ReleaseError::SigningKey
        );
    }

    #[test]
    fn nothing_of_it_can_be_changed() {
        let (_, manifest) = signed();
        let text = manifest.to_string();
        for (from, to) in [
            ("version 0.2.0", "version 0.3.0"),
            ("linux-x86_64", "linux-aarch64"),
            ("size 7", "size 8"),
        ] {
            let forged = text.replace(from, to);
            assert_eq!(forged.parse::<Manifest>(), Err(ReleaseError::Signature));
        }
        let (_, other) = signed();
        let stolen = text.replace(&manifest.key.to_string(), &other.key.to_string());
        assert_eq!(stolen.parse::<Manifest>(), Err(ReleaseError::Signature));
        for wrong in [
            String::new(),
            text.replace(HEAD, "remuda agent release 2"),
            text.replace("size 7", "size 07"),
            text.replace("size 7\n", "size 7\nmore x\n"),
            format!("{text}more\n"),
            text.replace("size 7", "size 0"),
            text.replace("target linux", "target ../linux"),
            "x".repeat(5_000),
        ] {
            let error = wrong.parse::<Manifest>().unwrap_err();
            assert!(matches!(error, ReleaseError::Text(_)), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_program_tells_what_it_runs_on() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(find_target(&this), Some(own_target()));
        assert_eq!(find_target(b"#!/bin/sh\nexec something"), None);
    }
}
