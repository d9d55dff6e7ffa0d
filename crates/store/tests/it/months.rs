//! Tables that are kept by months.

use primitives::Timestamp;
use store::testing::TestStore;
use store::{Db, Engine, Monthly, params};

store::on_every_engine! {
    months_go_as_a_whole_and_those_to_come_are_made_once,
}

const CHANGES: Monthly = Monthly::new("audit_log");

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

async fn make_ahead(db: &Db, now: &str) -> u32 {
    let mut tx = db.write().await.unwrap();
    let made = CHANGES.make_ahead(&mut tx, at(now), 2).await.unwrap();
    tx.commit().await.unwrap();
    made
}

async fn remove_before(db: &Db, cutoff: &str) -> u64 {
    let mut tx = db.write().await.unwrap();
    let removed = CHANGES.remove_before(&mut tx, at(cutoff)).await.unwrap();
    tx.commit().await.unwrap();
    removed
}

async fn put(db: &Db, seq: i64, time: &str) {
    let mut tx = db.write().await.unwrap();
    tx.execute(
        "INSERT INTO audit_log (seq, at, action, actor_kind, actor_name, subject_kind, hash) VALUES ($1, $2, 'a', 'user', 'n', 'key', $3)",
        params![seq, at(time), vec![0_u8; 32]],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

async fn left(db: &Db) -> Vec<i64> {
    let mut tx = db.read().await.unwrap();
    let rows = tx
        .fetch_all("SELECT seq FROM audit_log ORDER BY seq", ())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    rows.iter().map(|row| row.get("seq").unwrap()).collect()
}

async fn partitions(db: &Db) -> i64 {
    if db.engine() == Engine::Sqlite {
        return 0;
    }
    let row = db
        .glance("SELECT CAST(count(*) AS BIGINT) AS n FROM pg_inherits WHERE inhparent = to_regclass('audit_log')", ())
        .await
        .unwrap();
    row.unwrap().get("n").unwrap()
}

async fn months_go_as_a_whole_and_those_to_come_are_made_once(store: TestStore) {
    let db = store.migrated().await;
    let on_postgres = |count| {
        if db.engine() == Engine::Postgres {
            count
        } else {
            0
        }
    };
    // One record of long ago, one for which no month was made in time.
    put(&db, 1, "2020-05-05T00:00:00Z").await;
    put(&db, 2, "2091-03-05T00:00:00Z").await;
    assert_eq!(
        make_ahead(&db, "2020-05-05T00:00:00Z").await,
        0,
        "there is a place"
    );
    let made = make_ahead(&db, "2091-01-31T23:59:59Z").await;
    assert_eq!(made, on_postgres(2), "March is where it went astray");
    assert_eq!(make_ahead(&db, "2091-01-31T23:59:59Z").await, 0, "once");
    put(&db, 3, "2091-01-31T23:59:59Z").await;
    put(&db, 4, "2091-02-01T00:00:00Z").await;
    assert_eq!(partitions(&db).await, i64::from(on_postgres(4)));
    assert_eq!(remove_before(&db, "2091-02-01T00:00:00Z").await, 2);
    assert_eq!(left(&db).await, [2, 4]);
    assert_eq!(partitions(&db).await, i64::from(on_postgres(3)));
    assert_eq!(remove_before(&db, "2091-04-01T00:00:00Z").await, 2);
    assert_eq!(left(&db).await, Vec::<i64>::new());
}
