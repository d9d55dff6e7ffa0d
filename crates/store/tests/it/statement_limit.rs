//! Statements that take too long, or that nobody waits for any more.

use std::time::Duration;

use store::testing::TestStore;
use store::{Db, StoreError};

async fn with_row(store: &TestStore) -> Db {
    let db = store.migrated().await;
    let mut tx = db.write().await.unwrap();
    tx.execute("INSERT INTO settings (key, value) VALUES ('k', 'v')", ())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    db
}

async fn change(db: &Db) -> Result<(), StoreError> {
    let mut tx = db.write().await?;
    tx.execute("UPDATE settings SET value = 'changed' WHERE key = 'k'", ())
        .await?;
    tx.commit().await
}

/// Locks the row, begins a statement of an hour and gives both up.
async fn abandon_a_lock(store: TestStore) {
    let db = with_row(&store).await;
    let short = db
        .clone()
        .with_statement_timeout(Duration::from_millis(200));
    let mut tx = short.write().await.unwrap();
    tx.execute(
        "UPDATE settings SET value = 'abandoned' WHERE key = 'k'",
        (),
    )
    .await
    .unwrap();
    let sleeping = tx.fetch_optional("SELECT CAST(pg_sleep(3600) AS TEXT) AS slept", ());
    assert!(
        tokio::time::timeout(Duration::from_millis(20), sleeping)
            .await
            .is_err()
    );
    drop(tx);
    // Waits for the lock, and gets it because the server ends the statement.
    change(&db).await.unwrap();
}

#[tokio::test]
async fn an_abandoned_statement_gives_its_locks_back() {
    abandon_a_lock(TestStore::postgres().await).await;
}

#[tokio::test]
async fn an_abandoned_statement_behind_a_pooler_gives_its_locks_back() {
    abandon_a_lock(TestStore::pgbouncer().await).await;
}

store::on_every_engine! {
    a_statement_over_its_limit_is_unavailable_and_the_next_one_works,
}

async fn a_statement_over_its_limit_is_unavailable_and_the_next_one_works(store: TestStore) {
    let db = with_row(&store).await;
    let short = db.clone().with_statement_timeout(Duration::from_millis(50));
    let mut tx = short.read().await.unwrap();
    let endless = store::Statement::per_engine(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS i FROM n",
        "SELECT CAST(pg_sleep(3600) AS TEXT) AS i",
    );
    let error = tx.fetch_optional(endless, ()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    drop(tx);
    change(&short).await.unwrap();
}
