//! The data directory: made for its owner only, and held by one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::error::StartError;

/// The name of the lock file.
const LOCK: &str = "lock";

/// A data directory that this process holds. Dropping it lets another process have it.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Who holds a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// It is free, or not there.
    Nobody,
    /// A process, with its number as far as it is known.
    Process(Option<u32>),
}

impl DataDir {
    /// Makes the directory where it is missing and takes its lock. Waits for nobody.
    pub(crate) fn acquire(path: &Path) -> Result<Self, StartError> {
        let failed = |error: std::io::Error| StartError::DataDir {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StartError::DataDirLocked {
                    pid: read_pid(&mut lock),
                    path,
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // The number only helps people; the lock itself is what counts.
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    /// Tells who holds the directory, without taking it.
    pub(crate) fn holder(path: &Path) -> Holder {
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path.join(LOCK));
        match lock {
            Ok(mut lock) if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) => {
                Holder::Process(read_pid(&mut lock))
            }
            _ => Holder::Nobody,
        }
    }

    /// Returns the directory, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let held = DataDir::acquire(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let refused = DataDir::acquire(&path).unwrap_err().to_string();
        assert!(
            refused.contains(&std::process::id().to_string()),
            "{refused}"
        );
        assert_eq!(
            DataDir::holder(&path),
            Holder::Process(Some(std::process::id()))
        );
        drop(held);
        assert_eq!(DataDir::holder(&path), Holder::Nobody);
        DataDir::acquire(&path).unwrap();
    }

    #[test]
    fn a_file_in_its_place_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            DataDir::acquire(&path),
            Err(StartError::DataDir { .. })
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
