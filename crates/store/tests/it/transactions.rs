//! What a transaction promises.

use store::testing::TestStore;
use store::{Db, StoreError, params};

store::on_every_engine! {
    a_dropped_transaction_leaves_nothing,
    a_commit_is_seen_and_survives_reopening,
    a_failed_statement_undoes_the_transaction_and_spares_the_pool,
    a_conflict_names_its_constraint_alike,
    a_reader_sees_one_state_throughout,
    a_reader_cannot_write,
    an_abandoned_statement_does_not_spoil_the_next,
    relaxed_and_full_writes_alternate,
}

async fn set(db: &Db, key: &str, value: &str) -> Result<(), StoreError> {
    let mut tx = db.write().await?;
    tx.execute(
        "INSERT INTO settings (key, value) VALUES ($1, $2)",
        params![key, value],
    )
    .await?;
    tx.commit().await
}

async fn count(db: &Db) -> i64 {
    let mut tx = db.read().await.unwrap();
    let row = tx
        .fetch_optional("SELECT CAST(count(*) AS BIGINT) AS n FROM settings", ())
        .await
        .unwrap()
        .unwrap();
    tx.commit().await.unwrap();
    row.get("n").unwrap()
}

async fn a_dropped_transaction_leaves_nothing(store: TestStore) {
    let db = store.migrated().await;
    for _ in 0..10 {
        let mut tx = db.write().await.unwrap();
        tx.execute("INSERT INTO settings (key, value) VALUES ('k', 'v')", ())
            .await
            .unwrap();
        drop(tx);
    }
    assert_eq!(count(&db).await, 0);
}

async fn a_commit_is_seen_and_survives_reopening(store: TestStore) {
    let db = store.migrated().await;
    set(&db, "k", "v").await.unwrap();
    assert_eq!(count(&db).await, 1);
    db.close().await;
    assert_eq!(count(&store.open().await).await, 1);
}

async fn a_failed_statement_undoes_the_transaction_and_spares_the_pool(store: TestStore) {
    let db = store.migrated().await;
    for _ in 0..10 {
        let mut tx = db.write().await.unwrap();
        tx.execute("INSERT INTO settings (key, value) VALUES ('k', 'v')", ())
            .await
            .unwrap();
        let error = tx
            .execute("INSERT INTO nowhere (x) VALUES (1)", ())
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Backend(_)), "{error:?}");
    }
    assert_eq!(count(&db).await, 0);
}

async fn a_conflict_names_its_constraint_alike(store: TestStore) {
    let db = store.migrated().await;
    set(&db, "k", "v").await.unwrap();
    let error = set(&db, "k", "v").await.unwrap_err();
    assert!(error.is_conflict("settings_key"), "{error:?}");

    let insert_user = "INSERT INTO users (id, username, password_hash, role, created_at) VALUES ($1, 'ann', 'h', 'admin', 0)";
    let mut tx = db.write().await.unwrap();
    tx.execute(insert_user, params!["1"]).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = db.write().await.unwrap();
    let error = tx.execute(insert_user, params!["2"]).await.unwrap_err();
    assert!(error.is_conflict("users_username"), "{error:?}");
    drop(tx);

    let mut tx = db.write().await.unwrap();
    let error = tx
        .execute(
            "INSERT INTO sessions (id, user_id, token_hash, created_at, expires_at) VALUES ('s', 'nobody', $1, 0, 0)",
            params![vec![1_u8]],
        )
        .await
        .unwrap_err();
    assert!(error.is_conflict("foreign_key"), "{error:?}");
}

async fn a_reader_sees_one_state_throughout(store: TestStore) {
    let db = store.migrated().await;
    let mut reader = db.read().await.unwrap();
    let select = "SELECT CAST(count(*) AS BIGINT) AS n FROM settings";
    let before: i64 = reader
        .fetch_optional(select, ())
        .await
        .unwrap()
        .unwrap()
        .get("n")
        .unwrap();
    set(&db, "k", "v").await.unwrap();
    let after: i64 = reader
        .fetch_optional(select, ())
        .await
        .unwrap()
        .unwrap()
        .get("n")
        .unwrap();
    assert_eq!((before, after), (0, 0));
    reader.commit().await.unwrap();
    assert_eq!(count(&db).await, 1);
}

async fn a_reader_cannot_write(store: TestStore) {
    let db = store.migrated().await;
    let mut tx = db.read().await.unwrap();
    let result = tx
        .execute("INSERT INTO settings (key, value) VALUES ('k', 'v')", ())
        .await;
    assert!(result.is_err());
    drop(tx);
    assert_eq!(count(&db).await, 0);
}

async fn an_abandoned_statement_does_not_spoil_the_next(store: TestStore) {
    let db = store.migrated().await;
    let slow = store::Statement::per_engine(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT count(*) AS i FROM n",
        "SELECT CAST(pg_sleep(1) AS TEXT) AS i",
    );
    for _ in 0..4 {
        let mut tx = db.write().await.unwrap();
        tx.execute("INSERT INTO settings (key, value) VALUES ('k', 'v')", ())
            .await
            .unwrap();
        tokio::select! {
            biased;
            _ = tx.fetch_all(slow, ()) => panic!("the slow statement was not slow"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(count(&db).await, 0);
    set(&db, "k", "v").await.unwrap();
    assert_eq!(count(&db).await, 1);
}

async fn relaxed_and_full_writes_alternate(store: TestStore) {
    let db = store.migrated().await;
    for (index, durability) in [
        store::Durability::Relaxed,
        store::Durability::Full,
        store::Durability::Relaxed,
    ]
    .into_iter()
    .enumerate()
    {
        let mut tx = db.write_with(durability).await.unwrap();
        tx.execute(
            "INSERT INTO settings (key, value) VALUES ($1, 'v')",
            params![format!("k{index}")],
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(count(&db).await, 3);
}
