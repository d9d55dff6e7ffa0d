//! The journal of changes, for the other domains: each records its changes in the transaction that makes them.
//!
//! A transaction begins with [`begin`], before it reads what it changes, makes its change, adds its record with [`record`] and is
//! committed by its owner.

use ::store::{StoreError, Tx};

use crate::store;

pub use crate::audit::{Action, Actor, Change, record};

/// Waits for the turn of a change, which lasts until its transaction ends: records stand in one order.
///
/// # Errors
/// When the database fails.
pub async fn begin(tx: &mut Tx) -> Result<(), StoreError> {
    store::advance_generation_only(tx).await
}
