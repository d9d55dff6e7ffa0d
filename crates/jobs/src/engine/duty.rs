//! Duties: what one process does for all. Whoever holds the lease has the duty; it is renewed well before it ends, and goes to another
//! process when it is not. Times are the database's where it has a clock that all share.

use std::time::Duration;

use ::store::{Durability, StoreError};

use crate::store;
use crate::surface::Jobs;

/// How long a duty is held without a sign of life.
const LEASE: Duration = Duration::from_secs(20);

impl Jobs {
    /// Takes or keeps a duty. `None`: another process has it. The term grows with each change of hands.
    ///
    /// # Errors
    /// When the database fails: nobody knows then who has it, so nobody acts.
    pub async fn take_duty(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let inner = &self.inner;
        let mut tx = inner.db.write_with(Durability::Relaxed).await?;
        let now = store::now(&mut tx, &*inner.clock).await?;
        let term = store::take_duty(&mut tx, name, &inner.process, now, now.after(LEASE)).await?;
        tx.commit().await?;
        Ok(term)
    }
}
