//! The journal of changes: who, what, from where, before and after, in the transaction of the change itself.
//!
//! Records form a chain of hashes, so that changing, removing or inserting one is noticed. What stands in them never holds a secret:
//! it is made from what the API shows.

mod chain;
mod commitment;
mod erase;
mod list;
mod record;
mod retention;
mod seen;
mod verify;

pub(crate) use chain::ChainHash;
pub(crate) use commitment::Proof;
pub(crate) use erase::Traces;
pub use list::{AuditFilter, ListAuditError};
pub(crate) use record::record_about;
pub use record::{Action, Actor, AuditRecord, Change, record};
pub(crate) use seen::Seen;
pub use verify::{Broken, ChainError, ChainState};
