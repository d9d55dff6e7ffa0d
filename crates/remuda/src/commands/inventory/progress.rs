//! How far an import is, kept in FILE.progress: of which file, and to which server.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::output::remark;

/// What FILE.progress says.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    /// The server that it went to.
    server: String,
    /// The lines that are done, from the beginning of the file.
    lines: u64,
    /// Their bytes.
    bytes: u64,
    /// BLAKE3 of those bytes.
    blake3: String,
    /// How many of the lines were refused.
    refused: u64,
}

/// How far an import is.
pub(super) struct Progress {
    path: PathBuf,
    server: String,
    lines: u64,
    bytes: u64,
    hasher: blake3::Hasher,
    refused: u64,
    /// Whether it can be kept.
    is_kept: bool,
}

impl Progress {
    /// Finds how far an earlier import of the file to the server came, and has the file's reading begin there. With `anew`, and where
    /// the file or the server is another one, it begins at the beginning.
    pub(super) fn open(
        name: &Path,
        file: &mut File,
        server: String,
        anew: bool,
    ) -> io::Result<Self> {
        let mut path = name.to_path_buf().into_os_string();
        path.push(".progress");
        let mut progress = Self {
            path: PathBuf::from(path),
            server,
            lines: 0,
            bytes: 0,
            hasher: blake3::Hasher::new(),
            refused: 0,
            is_kept: true,
        };
        let told = std::fs::read(&progress.path).ok().filter(|_| !anew);
        if let Some(told) = told {
            let said = progress.path.display().to_string();
            match progress.take_up(&told, file)? {
                Ok(()) => remark(&format!(
                    "Going on behind line {}, as {said} says (--anew begins at the beginning).",
                    progress.lines
                )),
                Err(why) => {
                    file.rewind()?;
                    remark(&format!("{said} {why}: beginning at the beginning."));
                }
            }
        }
        Ok(progress)
    }

    /// Takes up what is kept, or tells why it does not fit.
    fn take_up(&mut self, told: &[u8], file: &mut File) -> io::Result<Result<(), String>> {
        let Ok(kept) = serde_json::from_slice::<Kept>(told) else {
            return Ok(Err("is none that this version has written".to_owned()));
        };
        if kept.server != self.server {
            return Ok(Err(format!("is of an import to {}", kept.server)));
        }
        let mut hasher = blake3::Hasher::new();
        let mut done = file.take(kept.bytes);
        let mut buffer = vec![0; 1 << 16];
        let (mut bytes, mut last) = (0, None);
        loop {
            let count = done.read(&mut buffer)?;
            let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else {
                break;
            };
            hasher.update(read);
            bytes += count as u64;
            last = read.last().copied();
        }
        let is_same = bytes == kept.bytes && hasher.finalize().to_hex().as_str() == kept.blake3;
        if !is_same || last != Some(b'\n') {
            return Ok(Err("is of another file, or the file was changed".to_owned()));
        }
        self.lines = kept.lines;
        self.bytes = kept.bytes;
        self.hasher = hasher;
        self.refused = kept.refused;
        Ok(Ok(()))
    }

    /// Returns how many lines are done.
    pub(super) const fn lines(&self) -> u64 {
        self.lines
    }

    /// Returns how many of them were refused.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes note of the next lines, which are done.
    pub(super) fn advance(&mut self, text: &[u8], lines: u64, refused: u64) {
        self.hasher.update(text);
        self.bytes += text.len() as u64;
        self.lines += lines;
        self.refused += refused;
        if !self.is_kept {
            return;
        }
        let kept = Kept {
            server: self.server.clone(),
            lines: self.lines,
            bytes: self.bytes,
            blake3: self.hasher.finalize().to_hex().to_string(),
            refused: self.refused,
        };
        let text = serde_json::to_vec(&kept).unwrap_or_default();
        if let Err(error) = std::fs::write(&self.path, text) {
            self.is_kept = false;
            remark(&format!(
                "Cannot write {} ({error}): an import that is cut off begins at the beginning.",
                self.path.display()
            ));
        }
    }

    /// Says where the next import goes on, after one that came to no end.
    pub(super) fn tell_rest(&self) {
        if self.is_kept && self.lines > 0 {
            remark(&format!(
                "All up to line {} is in: the same command goes on from there.",
                self.lines
            ));
        }
    }

    /// Forgets it: the next import of the file begins at its beginning.
    pub(super) fn finish(&self) {
        if self.is_kept {
            drop(std::fs::remove_file(&self.path));
        }
    }
}
