//! What is known of a person: given out to them or their administrators, and erased.
//!
//! Each domain knows its own part ([`PersonalData`]). What must stay is stripped of names and addresses; ids stay, which say nothing once
//! nobody knows whose they were.

mod erase;
mod export;
mod own;
mod writer;

use std::pin::Pin;
use std::sync::Arc;

use ::store::StoreError;
use primitives::{KeyId, OrgId, UserId};

use crate::identity::Identity;

pub use self::erase::{EraseError, Erasure, Kept};
pub(crate) use self::export::MOST_EXPORTS;
pub use self::export::{ExportError, Exporting};
pub use self::writer::{ExportWriter, Gone};

/// Somebody whose data is exported or erased.
#[derive(Clone, Debug)]
pub struct DataSubject {
    /// Their id.
    pub id: UserId,
    /// Their organisation.
    pub org: OrgId,
    /// The name they sign in with.
    pub username: String,
    /// Their API keys, revoked ones too.
    pub keys: Vec<KeyId>,
}

impl DataSubject {
    /// Lists the ids of the person and of their keys, as text.
    pub fn ids(&self) -> Vec<String> {
        let keys = self.keys.iter().map(ToString::to_string);
        std::iter::once(self.id.to_string()).chain(keys).collect()
    }
}

/// Who gets an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The person.
    Themself,
    /// Somebody who administers: they do not read what people write.
    Administrator,
}

/// Work that one domain does for another.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a part was not exported.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// Nobody reads any more.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How many rows of a kind were erased, or stripped of what names the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    /// What they are.
    pub what: &'static str,
    /// How many.
    pub rows: u64,
}

/// A domain's part of what is known of people.
pub trait PersonalData: Send + Sync {
    /// Writes everything out that there is of a person.
    fn export<'a>(
        &'a self,
        of: &'a DataSubject,
        reader: Reader,
        to: &'a mut ExportWriter,
    ) -> Work<'a, Result<(), PartError>>;

    /// Erases everything of a person, or what names them in it. May be done again when it was interrupted.
    fn erase<'a>(&'a self, of: &'a DataSubject) -> Work<'a, Result<Vec<Erased>, StoreError>>;
}

impl Identity {
    /// Adds a domain's part. Called at the start.
    pub fn add_personal_data(&self, part: impl PersonalData + 'static) {
        let part: Arc<dyn PersonalData> = Arc::new(part);
        self.inner.personal_data.rcu(|parts| {
            let mut parts = parts.as_ref().clone();
            parts.push(Arc::clone(&part));
            parts
        });
    }
}
