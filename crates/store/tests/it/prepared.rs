//! Statements stay prepared where PostgreSQL itself is at the address, never behind a pooler.

use store::testing::TestStore;
use store::{Db, params};

/// Returns how many statements of a connection that ran one are prepared.
async fn prepared(db: &Db) -> i64 {
    let mut tx = db.read().await.unwrap();
    tx.fetch_optional("SELECT value FROM settings WHERE key = $1", params!["k"])
        .await
        .unwrap();
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS n FROM pg_prepared_statements WHERE statement LIKE 'SELECT value FROM settings%'",
            (),
        )
        .await
        .unwrap();
    tx.commit().await.unwrap();
    row.unwrap().get("n").unwrap()
}

#[tokio::test]
async fn a_server_keeps_what_ran() {
    let store = TestStore::postgres().await;
    assert_eq!(prepared(&store.migrated().await).await, 1);
}

#[tokio::test]
async fn nothing_is_left_behind_a_pooler() {
    let store = TestStore::pgbouncer().await;
    assert_eq!(prepared(&store.migrated().await).await, 0);
}

/// Tells how often one statement was planned for its parameters, and how often by one plan for all, on the one connection there is.
async fn planned(db: &Db) -> (i64, i64) {
    let row = db
        .glance(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'SELECT value FROM settings%'",
            (),
        )
        .await
        .unwrap()
        .unwrap();
    (
        row.get("custom_plans").unwrap(),
        row.get("generic_plans").unwrap(),
    )
}

#[tokio::test]
async fn what_finds_rows_by_keys_is_planned_once_and_what_filters_each_time() {
    const FIND: &str = "SELECT value FROM settings WHERE key = $1";
    let store = TestStore::postgres().await;
    store.migrated().await.close().await;
    let mut config = store.config().clone();
    config.max_connections = 1;
    let db = Db::open(&config).await.unwrap();
    for _ in 0..10 {
        let mut tx = db.read().await.unwrap();
        tx.fetch_optional(FIND, params!["k"]).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(planned(&db).await, (10, 0));
    for _ in 0..10 {
        let mut tx = db.read_by_keys().await.unwrap();
        tx.fetch_optional(FIND, params!["k"]).await.unwrap();
        tx.commit().await.unwrap();
        db.glance(FIND, params!["k"]).await.unwrap();
    }
    assert_eq!(planned(&db).await, (10, 20));
}

#[tokio::test]
async fn a_change_of_the_schema_costs_each_connection_one_try_at_most() {
    let store = TestStore::postgres().await;
    let (db, other) = (store.open().await, store.open().await);
    let look = async || -> Result<usize, store::StoreError> {
        let mut tx = db.read().await?;
        let rows = tx.fetch_all("SELECT * FROM changing", ()).await?;
        tx.commit().await?;
        Ok(rows.len())
    };
    let change = async |sql: &'static str| {
        let mut tx = other.write().await.unwrap();
        tx.execute(sql, ()).await.unwrap();
        tx.commit().await.unwrap();
    };
    change("CREATE TABLE changing (a BIGINT)").await;
    assert_eq!(look().await.unwrap(), 0);
    change("ALTER TABLE changing ADD COLUMN b TEXT").await;
    // Each connection that knew the table as it was, of which there are 8 at most.
    let (mut refused, mut in_a_row) = (0, 0);
    while in_a_row < 20 {
        match look().await {
            Ok(rows) => {
                assert_eq!(rows, 0);
                in_a_row += 1;
            }
            Err(error) => {
                assert!(error.is_unavailable(), "{error:?}");
                refused += 1;
                assert!(refused <= 8, "they are not given up");
            }
        }
    }
}
