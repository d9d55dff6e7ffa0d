//! The file: a magic line, a readable manifest, then sealed chunks, each with its length before it.
//!
//! A chunk is bound to the manifest and to its place, and the last one says that it is the last: nothing can be exchanged, moved or
//! left out unnoticed.

use std::io::{self, Read, Write};

use aws_lc_rs::digest;

use super::{BackupError, Manifest};
use crate::Sealer;

/// The version of the format that this build writes, and the only one that it reads.
pub(super) const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"RMDBAK1\n";
/// The most bytes of a manifest or of a sealed chunk: what is longer is not ours.
const LONGEST: usize = 64 * 1024 * 1024;
/// A chunk is sealed when it has so many bytes.
const CHUNK: usize = 1024 * 1024;

const MORE: u8 = b'+';
const LAST: u8 = b'.';

/// Writes a backup.
pub(super) struct Writer<'a, W> {
    file: W,
    sealer: &'a Sealer,
    binding: String,
    number: u64,
    pending: Vec<u8>,
}

impl<'a, W: Write> Writer<'a, W> {
    pub(super) fn begin(
        mut file: W,
        sealer: &'a Sealer,
        manifest: &Manifest,
    ) -> Result<Self, BackupError> {
        let text = serde_json::to_vec(manifest).map_err(io::Error::from)?;
        file.write_all(MAGIC)?;
        write_part(&mut file, &text)?;
        Ok(Self {
            file,
            sealer,
            binding: binding(&text),
            number: 0,
            pending: vec![MORE],
        })
    }

    /// Adds a line.
    pub(super) fn line(&mut self, line: &str) -> Result<(), BackupError> {
        self.pending.extend_from_slice(line.as_bytes());
        self.pending.push(b'\n');
        if self.pending.len() >= CHUNK {
            self.seal()?;
        }
        Ok(())
    }

    /// Adds the last line and returns the file.
    pub(super) fn finish(mut self, line: &str) -> Result<W, BackupError> {
        if self.pending.len() > 1 {
            self.seal()?;
        }
        self.pending[0] = LAST;
        self.line(line)?;
        if self.pending.len() > 1 {
            self.seal()?;
        }
        self.file.flush()?;
        Ok(self.file)
    }

    fn seal(&mut self) -> Result<(), BackupError> {
        let place = place(&self.binding, self.number);
        let sealed = self.sealer.seal(&place, &self.pending)?;
        write_part(&mut self.file, &sealed)?;
        self.number += 1;
        self.pending.truncate(1);
        Ok(())
    }
}

/// Reads a backup.
pub(super) struct Reader<'a, R> {
    file: R,
    sealer: &'a Sealer,
    binding: String,
    number: u64,
    ended: bool,
}

impl<'a, R: Read> Reader<'a, R> {
    pub(super) fn begin(mut file: R, sealer: &'a Sealer) -> Result<(Self, Manifest), BackupError> {
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Ok(()) => return Err(BackupError::NoBackup),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(BackupError::NoBackup);
            }
            Err(error) => return Err(error.into()),
        }
        let text = read_part(&mut file)?.ok_or(BackupError::CutOff)?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| BackupError::Damaged(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(BackupError::Format {
                found: manifest.format,
                known: FORMAT,
            });
        }
        let reader = Self {
            file,
            sealer,
            binding: binding(&text),
            number: 0,
            ended: false,
        };
        Ok((reader, manifest))
    }

    /// Returns the text of the next chunk, or `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<String>, BackupError> {
        let part = read_part(&mut self.file)?;
        match (part, self.ended) {
            (None, true) => Ok(None),
            (None, false) => Err(BackupError::CutOff),
            (Some(_), true) => Err(BackupError::Damaged(
                "something stands after its end".to_owned(),
            )),
            (Some(sealed), false) => {
                let place = place(&self.binding, self.number);
                let plain = self.sealer.open(&place, &sealed)?;
                self.number += 1;
                let (&mark, text) = plain.expose().split_first().ok_or(BackupError::CutOff)?;
                self.ended = mark == LAST;
                String::from_utf8(text.to_vec())
                    .map(Some)
                    .map_err(|error| BackupError::Damaged(error.to_string()))
            }
        }
    }

    /// Tells whether the chunk that was read last is the last one.
    pub(super) const fn is_last(&self) -> bool {
        self.ended
    }
}

fn binding(manifest: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, manifest))
}

fn place(binding: &str, number: u64) -> String {
    format!("backup|{binding}|{number}")
}

fn write_part(file: &mut impl Write, part: &[u8]) -> Result<(), BackupError> {
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    if part.len() > LONGEST {
        return Err(BackupError::Damaged("a row is too large".to_owned()));
    }
    file.write_all(&length.to_be_bytes())?;
    Ok(file.write_all(part)?)
}

/// Reads a part, or nothing at the end of the file.
fn read_part(file: &mut impl Read) -> Result<Option<Vec<u8>>, BackupError> {
    let mut length = [0; 4];
    let mut found = 0;
    while found < length.len() {
        match file.read(&mut length[found..])? {
            0 if found == 0 => return Ok(None),
            0 => return Err(BackupError::CutOff),
            more => found += more,
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(BackupError::Damaged("a part is too long".to_owned()));
    }
    let mut part = Vec::new();
    file.take(length as u64).read_to_end(&mut part)?;
    if part.len() == length {
        Ok(Some(part))
    } else {
        Err(BackupError::CutOff)
    }
}
