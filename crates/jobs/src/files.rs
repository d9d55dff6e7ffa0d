//! Files: uploaded in pieces and sealed, so that their size is not a matter of memory, listed, read, deleted, and gone in time.

use std::fmt;

use ::store::{SealError, StoreError};
use bytes::Bytes;
use primitives::{Classify, ErrorKind, JobId, Timestamp};

use crate::model::Owner;
use crate::store;
use crate::surface::Jobs;

/// The bytes of a piece.
pub(crate) const PIECE: usize = 256 << 10;
/// The most files of one organisation.
pub(crate) const FILES: u64 = 10_000;

/// The id of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileId(pub(crate) String);

impl FileId {
    /// Makes an id that sorts by the time.
    pub(crate) fn generate(now: Timestamp) -> Self {
        Self(format!("file-{}", JobId::generate(now).as_uuid().simple()))
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The lines of a batch.
    Batch,
    /// What a batch came to.
    BatchOutput,
}

impl Purpose {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::BatchOutput => "batch_output",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Batch, Self::BatchOutput]
            .into_iter()
            .find(|purpose| purpose.as_str() == name)
    }
}

/// A file without its content.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) id: FileId,
    pub(crate) owner: Owner,
    pub(crate) name: String,
    pub(crate) purpose: Purpose,
    pub(crate) bytes: u64,
    pub(crate) pieces: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// Why a file was not taken, shown or deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("there is no file {0}")]
    Unknown(String),
    #[error("the file is larger than {0} bytes, which is the limit ([jobs] file_limit)")]
    TooLarge(u64),
    #[error("your organisation has {0} files, which is the limit")]
    TooMany(u64),
    #[error("{0}")]
    Upload(String),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for FileError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) => ErrorKind::NotFound,
            Self::TooLarge(_) => ErrorKind::TooLarge,
            Self::TooMany(_) => ErrorKind::TooMany,
            Self::Upload(_) => ErrorKind::Invalid,
            Self::Seal(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            Self::Unknown(_) => {
                format!("{self}: it is not yours, was deleted, or its time was over")
            }
            Self::TooLarge(_) => format!("{self}: split it"),
            Self::TooMany(_) => format!("{self}: delete some"),
            Self::Upload(_) => self.to_string(),
            Self::Seal(_) => {
                "the file cannot be read any more: it was sealed with a key that is gone".to_owned()
            }
            Self::Store(error) => error.public_message(),
        }
    }
}

/// Names the place of a piece for its seal.
pub(crate) fn piece_place(file: &str, number: i64) -> String {
    format!("file_pieces|content|{file}|{number}")
}

/// A file that is being written, piece by piece.
pub(crate) struct Writing {
    jobs: Jobs,
    pub(crate) file: File,
    held: Vec<u8>,
}

impl Jobs {
    /// Begins a file. It is shown only once it is complete.
    pub(crate) async fn begin_file(
        &self,
        owner: Owner,
        name: &str,
        purpose: Purpose,
    ) -> Result<Writing, FileError> {
        let inner = &self.inner;
        let mut tx = inner.db.write().await?;
        let now = store::now(&mut tx, &*inner.clock).await?;
        let count = store::count_files(&mut tx, owner.org).await?;
        if count >= FILES && purpose == Purpose::Batch {
            return Err(FileError::TooMany(count));
        }
        let file = File {
            id: FileId::generate(now),
            owner,
            name: name.chars().take(200).collect(),
            purpose,
            bytes: 0,
            pieces: 0,
            created_at: now,
            expires_at: now.after(inner.config.file_retention),
        };
        store::insert_file(&mut tx, &file).await?;
        tx.commit().await?;
        Ok(Writing {
            jobs: self.clone(),
            file,
            held: Vec::new(),
        })
    }

    /// Lists an owner's files, the newest first, from before an id.
    pub(crate) async fn list_files(
        &self,
        owner: Owner,
        purpose: Option<Purpose>,
        after: Option<&str>,
        most: u32,
    ) -> Result<Vec<File>, FileError> {
        let mut tx = self.inner.db.read().await?;
        let before = after.unwrap_or("\u{10ffff}");
        let found = store::list_files(&mut tx, owner, purpose, before, most).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// Finds an owner's file.
    pub(crate) async fn load_file(&self, owner: Owner, id: &str) -> Result<File, FileError> {
        let mut tx = self.inner.db.read().await?;
        let found = store::find_file(&mut tx, owner, id).await?;
        tx.commit().await?;
        found.ok_or_else(|| FileError::Unknown(id.chars().take(64).collect()))
    }

    /// Reads a piece of a file, numbered from 1. `None`: there is no more.
    pub(crate) async fn read_piece(
        &self,
        id: &FileId,
        number: i64,
    ) -> Result<Option<Bytes>, FileError> {
        let mut tx = self.inner.db.read().await?;
        let sealed = store::find_piece(&mut tx, &id.0, number).await?;
        tx.commit().await?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let plain = self
            .inner
            .sealer
            .open(&piece_place(&id.0, number), &sealed)?;
        Ok(Some(Bytes::copy_from_slice(plain.expose())))
    }

    /// Deletes an owner's file.
    pub(crate) async fn delete_file(&self, owner: Owner, id: &str) -> Result<(), FileError> {
        let mut tx = self.inner.db.write().await?;
        let deleted = store::delete_file(&mut tx, owner, id).await?;
        tx.commit().await?;
        if deleted {
            Ok(())
        } else {
            Err(FileError::Unknown(id.chars().take(64).collect()))
        }
    }
}

impl Writing {
    /// Adds to the file. Whole pieces are stored at once.
    pub(crate) async fn write(&mut self, mut data: &[u8]) -> Result<(), FileError> {
        let limit = self.jobs.inner.config.file_limit;
        self.file.bytes += data.len() as u64;
        if self.file.purpose == Purpose::Batch && self.file.bytes > limit {
            return Err(FileError::TooLarge(limit));
        }
        while !data.is_empty() {
            let room = PIECE - self.held.len();
            let (now, rest) = data.split_at(room.min(data.len()));
            self.held.extend_from_slice(now);
            data = rest;
            if self.held.len() == PIECE {
                self.store_piece().await?;
            }
        }
        Ok(())
    }

    async fn store_piece(&mut self) -> Result<(), FileError> {
        let inner = &self.jobs.inner;
        let number = self.file.pieces + 1;
        let place = piece_place(&self.file.id.0, number);
        let sealed = inner.sealer.seal(&place, &self.held)?;
        let mut tx = inner.db.write_with(::store::Durability::Relaxed).await?;
        store::insert_piece(&mut tx, &self.file.id.0, number, sealed).await?;
        tx.commit().await?;
        self.file.pieces = number;
        self.held.clear();
        Ok(())
    }

    /// Stores what is left. The file is complete with the transaction that [`store::complete_file`] is part of.
    pub(crate) async fn finish(&mut self) -> Result<(), FileError> {
        if !self.held.is_empty() {
            self.store_piece().await?;
        }
        Ok(())
    }

    /// Completes the file: from here on it is shown.
    pub(crate) async fn complete(mut self) -> Result<File, FileError> {
        self.finish().await?;
        let mut tx = self.jobs.inner.db.write().await?;
        store::complete_file(&mut tx, &self.file).await?;
        tx.commit().await?;
        Ok(self.file)
    }

    /// Takes back what was stored.
    pub(crate) async fn give_up(self) {
        let inner = &self.jobs.inner;
        let deleting = async {
            let mut tx = inner.db.write().await?;
            store::erase_file(&mut tx, &self.file.id.0).await?;
            tx.commit().await
        };
        // What stays is deleted with the incomplete ones, an hour later.
        drop(deleting.await);
    }
}
