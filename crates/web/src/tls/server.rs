//! The certificate that is shown now, and the files that the next one comes from.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use primitives::Timestamp;
use rustls::ServerConfig;

use super::{Certificate, CertificateError, Handshakes};

/// TLS towards clients. Connections that are open keep the certificate they were opened with.
#[derive(Debug)]
pub struct ServerTls {
    certificate: PathBuf,
    key: PathBuf,
    now: ArcSwap<Certificate>,
    /// Of the files as they were read last, whether that went well or not.
    read: Mutex<[Option<Stamp>; 2]>,
    handshakes: Arc<Handshakes>,
    done: AtomicU64,
    failed: AtomicU64,
    is_stuck: AtomicBool,
}

/// How often the files were read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloads {
    /// Times that they were taken.
    pub done: u64,
    /// Times that they could not be used.
    pub failed: u64,
    /// Whether the last time was one of these, so that what is shown is not what the files hold.
    pub is_stuck: bool,
}

/// What changes with a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl ServerTls {
    /// Reads the two files.
    ///
    /// # Errors
    /// As [`Certificate::load`].
    pub fn open(certificate: &Path, key: &Path, now: Timestamp) -> Result<Self, CertificateError> {
        // Before the files, so that a change meanwhile is seen later.
        let read = [stamp(certificate), stamp(key)];
        Ok(Self {
            now: ArcSwap::from_pointee(Certificate::load(certificate, key, now)?),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            read: Mutex::new(read),
            handshakes: Arc::default(),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            is_stuck: AtomicBool::new(false),
        })
    }

    /// Tells whether the files are other ones than when they were read last. Asks the file system.
    pub fn has_changed(&self) -> bool {
        *self.read.lock() != [stamp(&self.certificate), stamp(&self.key)]
    }

    /// Reads the files anew. If they cannot be used the certificate stays as it is. Reads the file system.
    ///
    /// # Errors
    /// As [`Certificate::load`].
    pub fn reload(&self, now: Timestamp) -> Result<Arc<Certificate>, CertificateError> {
        *self.read.lock() = [stamp(&self.certificate), stamp(&self.key)];
        let loaded = Certificate::load(&self.certificate, &self.key, now);
        let count = if loaded.is_ok() {
            &self.done
        } else {
            &self.failed
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.is_stuck.store(loaded.is_err(), Ordering::Relaxed);
        let certificate = Arc::new(loaded?);
        self.now.store(Arc::clone(&certificate));
        Ok(certificate)
    }

    /// Returns the certificate that is shown to new connections.
    pub fn certificate(&self) -> Arc<Certificate> {
        self.now.load_full()
    }

    /// Returns how TLS is spoken on new connections.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.now.load().config)
    }

    /// Returns how often the files were read anew.
    pub fn reloads(&self) -> Reloads {
        Reloads {
            done: self.done.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            is_stuck: self.is_stuck.load(Ordering::Relaxed),
        }
    }

    /// Returns the counts of handshakes.
    pub fn handshakes(&self) -> &Arc<Handshakes> {
        &self.handshakes
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    })
}
