//! Many at once.

use store::testing::TestStore;
use store::{Db, Engine, StoreError, params};

store::on_every_engine! {
    concurrent_increments_are_all_counted,
    readers_do_not_wait_for_a_writer,
    as_many_read_at_once_as_there_may_be_connections,
    metrics_tell_how_transactions_ended,
}

async fn increment(db: Db) -> Result<(), StoreError> {
    let mut tx = db.write().await?;
    tx.execute(
        "UPDATE settings SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE key = 'n'",
        (),
    )
    .await?;
    tx.commit().await
}

async fn value(db: &Db) -> String {
    let mut tx = db.read().await.unwrap();
    let row = tx
        .fetch_optional("SELECT value FROM settings WHERE key = $1", params!["n"])
        .await
        .unwrap()
        .unwrap();
    tx.commit().await.unwrap();
    row.get("value").unwrap()
}

async fn prepared(store: &TestStore) -> Db {
    let db = store.migrated().await;
    let mut tx = db.write().await.unwrap();
    tx.execute("INSERT INTO settings (key, value) VALUES ('n', '0')", ())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    db
}

async fn concurrent_increments_are_all_counted(store: TestStore) {
    let db = prepared(&store).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..40 {
        tasks.spawn(increment(db.clone()));
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap().unwrap();
    }
    assert_eq!(value(&db).await, "40");
}

async fn readers_do_not_wait_for_a_writer(store: TestStore) {
    let db = prepared(&store).await;
    let mut writer = db.write().await.unwrap();
    writer
        .execute("UPDATE settings SET value = 'changed' WHERE key = 'n'", ())
        .await
        .unwrap();
    assert_eq!(value(&db).await, "0");
    writer.commit().await.unwrap();
    assert_eq!(value(&db).await, "changed");
}

async fn as_many_read_at_once_as_there_may_be_connections(store: TestStore) {
    let db = prepared(&store).await;
    let mut reading = Vec::new();
    for _ in 0..store.config().max_connections {
        let mut tx = db.read().await.unwrap();
        tx.fetch_all("SELECT value FROM settings WHERE key = 'n'", ())
            .await
            .unwrap();
        reading.push(tx);
    }
    let metrics = db.render_metrics();
    let open = format!("{{pool=\"readers\"}} {}", reading.len());
    if db.engine() == Engine::Sqlite {
        for told in ["open", "most"] {
            let series = format!("remuda_database_connections_{told}{open}");
            assert!(metrics.contains(&series), "{metrics}");
        }
    }
    for tx in reading {
        tx.commit().await.unwrap();
    }
    // Afterwards there is one for whoever comes.
    assert_eq!(value(&db).await, "0");
    db.close().await;
    assert!(db.read().await.is_err());
}

async fn metrics_tell_how_transactions_ended(store: TestStore) {
    let db = prepared(&store).await;
    let count = |series: &str| -> u64 {
        let metrics = db.render_metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().unwrap())
    };
    let written = "remuda_database_transactions_total{kind=\"write\",outcome=\"committed\"}";
    let undone = "remuda_database_transactions_total{kind=\"write\",outcome=\"undone\"}";
    let (before, none) = (count(written), count(undone));
    increment(db.clone()).await.unwrap();
    let mut given_up = db.write().await.unwrap();
    given_up
        .execute("UPDATE settings SET value = 'lost' WHERE key = 'n'", ())
        .await
        .unwrap();
    drop(given_up);
    assert_eq!((count(written), count(undone)), (before + 1, none + 1));
    assert_eq!(
        count("remuda_database_transaction_seconds_count{kind=\"write\"}"),
        before + none + 2
    );
    let metrics = db.render_metrics();
    assert!(
        metrics.contains("remuda_database_connections_most{pool="),
        "{metrics}"
    );
    db.close().await;
    assert!(db.write().await.is_err());
    let refused = "remuda_database_transactions_total{kind=\"write\",outcome=\"not_begun\"}";
    assert_eq!(count(refused), 1);
}
