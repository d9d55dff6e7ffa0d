//! Model files: where they are, what their header says, and whether they are sound.

mod bytes;
mod gguf;
mod metadata;

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::PathBuf;

pub(crate) use bytes::Bytes;
pub(crate) use gguf::GgufFile;
pub(crate) use metadata::Metadata;

/// The reason for not serving a file, in words for the person who put it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<candle_core::Error> for Refusal {
    fn from(error: candle_core::Error) -> Self {
        Self(error.to_string())
    }
}

/// What a model file is read through.
pub(crate) trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

/// Where a model's bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A file, or a directory of a safetensors model.
    Path(PathBuf),
    /// Bytes inside the program.
    Embedded(&'static [u8]),
}

impl Source {
    /// Opens the bytes for reading.
    pub(crate) fn open(&self) -> Result<Box<dyn ReadSeek>, Refusal> {
        match self {
            Self::Path(path) => match File::open(path) {
                Ok(file) => Ok(Box::new(BufReader::with_capacity(1 << 20, file))),
                Err(error) => Err(Refusal(format!("cannot open the file: {error}"))),
            },
            Self::Embedded(bytes) => Ok(Box::new(Cursor::new(*bytes))),
        }
    }
}
