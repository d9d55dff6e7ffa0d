//! People, keys, organisations and the journal of changes.

mod changes;
mod queries;
mod things;

pub(crate) use changes::IdentityChanges;
pub(crate) use queries::IdentityQueries;
pub(crate) use things::{AuditRecord, Key, Organisation, User};
