//! Numbers for new widgets, out of blocks that the database hands out.

use ::store::{Db, StoreError};
use tokio::sync::Mutex;

use crate::store;

/// Numbers of one block. What is left of it when the process ends is never used.
const BLOCK: i64 = 10_000;

/// The block that is being used.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Mutex<(i64, i64)>);

impl Numbers {
    /// Returns the first of `count` numbers in a row that nobody else has.
    pub(crate) async fn take(&self, db: &Db, count: usize) -> Result<i64, StoreError> {
        let count = i64::try_from(count).unwrap_or(BLOCK);
        let mut block = self.0.lock().await;
        if block.1 - block.0 < count {
            let size = BLOCK.max(count);
            let first = store::take_numbers(db, size).await?;
            *block = (first, first + size);
        }
        let first = block.0;
        block.0 += count;
        Ok(first)
    }
}
