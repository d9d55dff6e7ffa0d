//! A database that goes away and comes back.

use store::testing::TestStore;
use store::{Db, StoreConfig, StoreError};

/// Every operation of a stopped database is refused as unavailable, not as a mistake.
async fn is_unavailable(db: &Db) -> bool {
    matches!(db.ping().await, Err(StoreError::Unavailable(_)))
        && matches!(db.write().await, Err(StoreError::Unavailable(_)))
}

#[tokio::test]
async fn a_closed_sqlite_database_is_unavailable() {
    let store = TestStore::sqlite().await;
    let db = store.migrated().await;
    store.stop(&db).await;
    assert!(is_unavailable(&db).await);
}

#[tokio::test]
async fn a_stopped_postgres_is_unavailable_and_recovers_by_itself() {
    let store = TestStore::postgres().await;
    let db = store.migrated().await;
    let mut open = db.write().await.unwrap();
    open.execute("INSERT INTO settings (key, value) VALUES ('k', 'v')", ())
        .await
        .unwrap();
    store.stop(&db).await;
    let error = open.commit().await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert!(is_unavailable(&db).await);
    store.resume().await;
    db.ping().await.unwrap();
}

#[tokio::test]
async fn connections_that_were_lost_while_they_rested_are_replaced_unnoticed() {
    let store = TestStore::postgres().await;
    let db = store.migrated().await;
    // Reading, writing, writing in turn, and one query by itself: each meets connections that have rested.
    for how in 0..4 {
        let mut at_once = Vec::new();
        for _ in 0..store.config().max_connections {
            at_once.push(db.read().await.unwrap());
        }
        for tx in at_once {
            tx.commit().await.unwrap();
        }
        store.stop(&db).await;
        store.resume().await;
        let one = "SELECT CAST(1 AS BIGINT) AS one";
        let begun = match how {
            3 => {
                db.glance(one, ()).await.unwrap();
                continue;
            }
            0 => db.read().await,
            1 => db.write().await,
            _ => db.write_ordered().await,
        };
        let mut tx = begun.unwrap();
        tx.fetch_optional(one, ()).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let config = StoreConfig::new(format!("postgres://nobody@127.0.0.1:{port}/none"));
    assert!(matches!(
        Db::open(&config).await,
        Err(StoreError::Unavailable(_))
    ));
}

#[tokio::test]
async fn a_write_lock_held_by_another_process_is_unavailable_not_a_mistake() {
    let store = TestStore::sqlite().await;
    let (ours, theirs) = (store.migrated().await, store.open().await);
    let held = theirs.write().await.unwrap();
    let error = ours.write().await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert!(ours.ping().await.is_ok());
    drop(held);
}
