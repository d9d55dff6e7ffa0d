//! Bells between processes that share a PostgreSQL: a hint that there is something to look at, never the thing itself. Where no bell can
//! be had (SQLite, or an address that is a pooler's) whoever waits looks now and then, as they do in any case.

use primitives::Secret;
use sqlx::postgres::PgListener;

use crate::{Db, Engine, StoreError};

/// Hears the bell of a name.
#[derive(Debug)]
pub struct Wakes {
    listener: PgListener,
}

impl Wakes {
    /// Waits until it rings. What rings while the connection is lost is not heard.
    ///
    /// # Errors
    /// When the connection is lost and cannot be had again.
    pub async fn heard(&mut self) -> Result<(), StoreError> {
        self.listener.recv().await?;
        Ok(())
    }
}

impl Db {
    /// Listens on a connection of its own, past any pooler. `None`: the engine has no bells.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn listen(&self, name: &'static str) -> Result<Option<Wakes>, StoreError> {
        if self.engine() == Engine::Sqlite {
            return Ok(None);
        }
        let url: &Secret<String> = self.direct_url();
        let mut listener = PgListener::connect(url.expose()).await?;
        listener.listen(name).await?;
        Ok(Some(Wakes { listener }))
    }

    /// Rings the bell of a name for all processes. PostgreSQL takes a lock of the whole cluster for it at commit: ring seldom, and in no
    /// transaction that matters.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn ring(&self, name: &'static str) -> Result<(), StoreError> {
        if self.engine() == Engine::Sqlite {
            return Ok(());
        }
        let mut tx = self.write_with(crate::Durability::Relaxed).await?;
        tx.execute("SELECT pg_notify($1, '')", [name.into()])
            .await?;
        tx.commit().await
    }
}
