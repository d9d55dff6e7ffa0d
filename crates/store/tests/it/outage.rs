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
    // A connection that was idle while the server went away may fail once more before it is replaced.
    let mut recovered = false;
    for _ in 0..10 {
        recovered = recovered || db.ping().await.is_ok();
    }
    assert!(recovered);
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
