//! Writers that wait at the same time share a commit; each has its own outcome.

use store::testing::TestStore;
use store::{Db, StoreError, params};
use tokio::task::JoinSet;

store::on_every_engine! {
    each_of_many_writers_has_its_own_outcome,
    a_writer_that_gives_up_takes_nobody_with_it,
    what_is_left_open_is_seen_by_nobody_before_its_commit,
    writers_end_though_the_next_one_went_away,
}

/// Writes a number once; a second time conflicts.
async fn put(db: Db, number: u32) -> Result<(), StoreError> {
    let mut tx = db.write_ordered().await?;
    tx.execute(
        "INSERT INTO settings (key, value) VALUES ($1, 'x')",
        params![format!("n{number}")],
    )
    .await?;
    tx.commit().await
}

async fn stored(db: &Db) -> i64 {
    let row = db
        .glance(
            "SELECT CAST(count(*) AS BIGINT) AS n FROM settings WHERE value = 'x'",
            (),
        )
        .await
        .unwrap();
    row.unwrap().get("n").unwrap()
}

async fn each_of_many_writers_has_its_own_outcome(store: TestStore) {
    let db = store.migrated().await;
    put(db.clone(), 0).await.unwrap();
    let mut writers = JoinSet::new();
    for number in 0..60 {
        // Every third conflicts with the first one.
        let (db, number) = (db.clone(), if number % 3 == 0 { 0 } else { number });
        writers.spawn(async move { (number, put(db, number).await) });
    }
    let (mut made, mut refused) = (0, 0);
    while let Some(outcome) = writers.join_next().await {
        match outcome.unwrap() {
            (0, Err(StoreError::Conflict { .. })) => refused += 1,
            (number, Ok(())) if number > 0 => made += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((made, refused, stored(&db).await), (40, 20, 41));
    db.close().await;
    assert_eq!(stored(&store.open().await).await, 41, "it lasts");
}

async fn a_writer_that_gives_up_takes_nobody_with_it(store: TestStore) {
    let db = store.migrated().await;
    let mut writers = JoinSet::new();
    for number in 0..60 {
        let db = db.clone();
        writers.spawn(async move {
            if number % 2 == 0 {
                return put(db, number).await;
            }
            let mut tx = db.write_ordered().await?;
            tx.execute(
                "INSERT INTO settings (key, value) VALUES ($1, 'x')",
                params![format!("n{number}")],
            )
            .await?;
            drop(tx);
            Ok(())
        });
    }
    while let Some(outcome) = writers.join_next().await {
        outcome.unwrap().unwrap();
    }
    assert_eq!(stored(&db).await, 30);
}

async fn what_is_left_open_is_seen_by_nobody_before_its_commit(store: TestStore) {
    let db = store.migrated().await;
    let mut first = db.write_ordered().await.unwrap();
    first
        .execute("INSERT INTO settings (key, value) VALUES ('a', 'x')", ())
        .await
        .unwrap();
    // The second one waits, so that the first is left open to it.
    let second = tokio::spawn({
        let db = db.clone();
        async move { db.write_ordered().await.unwrap() }
    });
    while db.writers_waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let first = tokio::spawn(first.commit());
    let mut second = second.await.unwrap();
    assert_eq!(stored(&db).await, 0);
    assert!(!first.is_finished());
    second
        .execute("INSERT INTO settings (key, value) VALUES ('b', 'x')", ())
        .await
        .unwrap();
    second.commit().await.unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(stored(&db).await, 2);
}

async fn writers_end_though_the_next_one_went_away(store: TestStore) {
    let db = store.migrated().await;
    let mut first = db.write_ordered().await.unwrap();
    first
        .execute("INSERT INTO settings (key, value) VALUES ('a', 'x')", ())
        .await
        .unwrap();
    let second = tokio::spawn({
        let db = db.clone();
        async move { drop(db.write_ordered().await) }
    });
    while db.writers_waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let first = tokio::spawn(first.commit());
    second.abort();
    first.await.unwrap().unwrap();
    assert_eq!(stored(&db).await, 1);
    put(db.clone(), 1).await.unwrap();
    assert_eq!(stored(&db).await, 2);
}
