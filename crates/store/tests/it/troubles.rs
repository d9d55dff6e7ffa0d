//! Disks and files that fail: each trouble says what happened and what to do.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use primitives::{Classify as _, ErrorKind};
use store::testing::TestStore;
use store::{Db, StoreConfig, StoreError, params};

fn file(store: &TestStore) -> PathBuf {
    let url = store.config().url.expose();
    PathBuf::from(url.strip_prefix("sqlite:").unwrap())
}

async fn insert(db: &Db, key: &str, value: String) -> Result<(), StoreError> {
    let mut tx = db.write().await?;
    tx.execute(
        "INSERT INTO settings (key, value) VALUES ($1, $2)",
        params![key, value],
    )
    .await?;
    tx.commit().await
}

async fn read_all(store: &TestStore) -> Result<usize, StoreError> {
    let db = Db::open(store.config()).await?;
    let mut tx = db.read().await?;
    let rows = tx
        .fetch_all("SELECT key, value FROM settings", ())
        .await?
        .len();
    tx.commit().await?;
    Ok(rows)
}

#[tokio::test]
async fn a_full_disk_passes_and_the_database_goes_on_afterwards() {
    let store = TestStore::sqlite().await;
    let db = store.migrated().await;
    let mut tx = db.write().await.unwrap();
    // What SQLite does when the file cannot grow is the same whatever stands in its way.
    tx.fetch_all("PRAGMA max_page_count = 1", ()).await.unwrap();
    tx.commit().await.unwrap();
    let error = insert(&db, "big", "x".repeat(1 << 20)).await.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    assert!(error.is_passing());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.public_message().contains("free some space"));
    // The connection that met the limit is not used again, and the limit was its own.
    insert(&db, "big", "x".repeat(1 << 20)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_database_is_told_from_our_own_mistakes() {
    let store = TestStore::sqlite().await;
    let db = store.migrated().await;
    for number in 0..200 {
        insert(&db, &format!("key {number}"), "v".repeat(500))
            .await
            .unwrap();
    }
    db.close().await;
    let mut damaged = std::fs::OpenOptions::new()
        .write(true)
        .open(file(&store))
        .unwrap();
    // Behind the first page, which describes the tables.
    damaged.seek(SeekFrom::Start(4096)).unwrap();
    damaged.write_all(&vec![0xa5; 200_000]).unwrap();
    drop(damaged);
    let error = read_all(&store).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    assert!(error.public_message().contains("damaged"));
}

#[tokio::test]
async fn a_write_to_a_postgres_that_only_reads_says_so() {
    let store = TestStore::postgres().await;
    let db = store.migrated().await;
    let mut tx = db.read().await.unwrap();
    let error = tx
        .execute("INSERT INTO settings (key, value) VALUES ('k', 'v')", ())
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error:?}");
    assert!(error.public_message().contains("standby"));
}

#[tokio::test]
async fn a_refused_sign_in_passes_and_says_so() {
    let store = TestStore::postgres().await;
    store.migrated().await.close().await;
    let role = store.make_role().await;
    let db = Db::open(&store.config_of(&role)).await.unwrap();
    store.lock_role(&role).await;
    // Connections that were open may be noticed as lost first, each at its next use.
    let error = loop {
        match insert(&db, "k", "v".to_owned()).await.unwrap_err() {
            StoreError::Unavailable(_) => {}
            other => break other,
        }
    };
    assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
    assert!(error.is_passing());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.public_message().contains("[store] url"));
    store.unlock_role(&role).await;
    while let Err(error) = insert(&db, "k", "v".to_owned()).await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    }
    db.close().await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let config = StoreConfig::new("sqlite:/nowhere/at/all/remuda.db");
    let error = Db::open(&config).await.unwrap_err();
    assert!(error.public_message().contains("/nowhere/at/all/remuda.db"));
}
