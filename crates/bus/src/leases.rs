//! Leases: what one process does, no other one does at the same time.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::error::BusError;

/// Gives names to one holder at a time.
///
/// A lease is for work that is merely wasted when two do it: a holder that is held up longer than the period loses it without knowing.
pub trait Leases: Send + Sync + fmt::Debug {
    /// Takes a lease, or renews one's own, for `period`. Returns whether the holder has it now.
    ///
    /// # Errors
    /// When nobody can tell who has it.
    fn take(
        &self,
        name: &str,
        holder: &str,
        period: Duration,
    ) -> BoxFuture<'_, Result<bool, BusError>>;

    /// Gives a lease back that one holds; nothing happens when another one holds it.
    ///
    /// # Errors
    /// When it could not be given back: it ends with its period.
    fn give_back(&self, name: &str, holder: &str) -> BoxFuture<'_, Result<(), BusError>>;
}
