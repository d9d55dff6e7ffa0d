//! The triggers of the schema, at rest while a backup is put in.

use super::catalog::quoted;
use crate::{Statement, StoreError, Tx};

/// What rests: on SQLite the triggers themselves, on PostgreSQL those of the named tables.
pub(super) struct Triggers(Vec<(String, String)>);

/// On SQLite the texts that make them again, on PostgreSQL the tables that have some.
const TRIGGERS: Statement = Statement::per_engine(
    "SELECT name AS t, sql AS text FROM sqlite_master WHERE type = 'trigger' ORDER BY name",
    "SELECT DISTINCT CAST(c.relname AS TEXT) AS t, '' AS text FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
     JOIN pg_namespace s ON s.oid = c.relnamespace
     WHERE NOT g.tgisinternal AND s.nspname = current_schema() ORDER BY t",
);

impl Triggers {
    /// Takes them out of the way, until the end of the transaction at the latest.
    pub(super) async fn rest(tx: &mut Tx) -> Result<Self, StoreError> {
        let mut resting = Vec::new();
        for row in tx.fetch_all(TRIGGERS, ()).await? {
            resting.push((row.get::<String>("t")?, row.get::<String>("text")?));
        }
        for (name, text) in &resting {
            let sql = if text.is_empty() {
                format!("ALTER TABLE {} DISABLE TRIGGER USER", quoted(name))
            } else {
                format!("DROP TRIGGER {}", quoted(name))
            };
            tx.run_worded(sql, ()).await?;
        }
        Ok(Self(resting))
    }

    /// Puts them back.
    pub(super) async fn wake(self, tx: &mut Tx) -> Result<(), StoreError> {
        for (name, text) in self.0 {
            let sql = if text.is_empty() {
                format!("ALTER TABLE {} ENABLE TRIGGER USER", quoted(&name))
            } else {
                text
            };
            tx.run_worded(sql, ()).await?;
        }
        Ok(())
    }
}
