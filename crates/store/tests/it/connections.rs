//! Who gets which connection.

use std::pin::pin;
use std::time::Duration;

use store::testing::TestStore;
use store::{Db, Engine, StoreConfig};
use tokio::task::JoinSet;

/// Takes some hundred milliseconds.
const SLOW: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT CAST(max(i) AS BIGINT) AS most FROM n";

store::on_every_engine! {
    those_who_wait_get_what_comes_back,
    what_was_given_up_is_replaced,
    who_stops_waiting_takes_nothing_along,
    nothing_is_lent_once_all_are_closed,
}

/// Opens the database with one connection.
async fn narrow(store: &TestStore) -> Db {
    store.migrated().await.close().await;
    let config = StoreConfig {
        max_connections: 1,
        ..store.config().clone()
    };
    Db::open(&config).await.unwrap()
}

/// Returns the number `n` that a query finds.
async fn number(db: &Db, sql: &'static str) -> i64 {
    let mut tx = db.read().await.unwrap();
    let row = tx.fetch_optional(sql, ()).await.unwrap();
    tx.commit().await.unwrap();
    row.unwrap().get("n").unwrap()
}

/// Returns which process of PostgreSQL answers.
async fn process(db: &Db) -> i64 {
    number(db, "SELECT CAST(pg_backend_pid() AS BIGINT) AS n").await
}

#[tokio::test]
async fn the_connection_that_was_used_last_is_used_next() {
    let store = TestStore::postgres().await;
    let db = store.open().await;
    let mut at_once = Vec::new();
    for _ in 0..store.config().max_connections {
        at_once.push(db.read().await.unwrap());
    }
    for tx in at_once {
        tx.commit().await.unwrap();
    }
    let first = process(&db).await;
    for _ in 0..10 {
        assert_eq!(process(&db).await, first);
    }
}

async fn those_who_wait_get_what_comes_back(store: TestStore) {
    let db = narrow(&store).await;
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let db = db.clone();
        tasks.spawn(async move {
            for undone in [false, true, false, true] {
                let tx = db.read().await?;
                if !undone {
                    tx.commit().await?;
                }
            }
            Ok::<_, store::StoreError>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap().unwrap();
    }
}

async fn what_was_given_up_is_replaced(store: TestStore) {
    let db = narrow(&store).await;
    let hurried = db.clone().with_statement_timeout(Duration::from_millis(50));
    for _ in 0..3 {
        let mut tx = hurried.read().await.unwrap();
        // Until one takes longer than it may.
        while tx.fetch_all(SLOW, ()).await.is_ok() {}
        let waits = tokio::spawn({
            let db = db.clone();
            async move { db.ping().await }
        });
        tokio::task::yield_now().await;
        drop(tx);
        waits.await.unwrap().unwrap();
    }
}

async fn who_stops_waiting_takes_nothing_along(store: TestStore) {
    let db = narrow(&store).await;
    let tx = db.read().await.unwrap();
    {
        let mut waits = pin!(db.read());
        tokio::select! {
            biased;
            _ = &mut waits => panic!("there is one connection, and it is lent"),
            () = tokio::task::yield_now() => {}
        }
        tx.commit().await.unwrap();
        // What was meant for this one is the next one's.
    }
    db.ping().await.unwrap();
}

async fn nothing_is_lent_once_all_are_closed(store: TestStore) {
    let db = store.migrated().await;
    let late = db.read().await.unwrap();
    db.ping().await.unwrap();
    let closing = tokio::spawn({
        let db = db.clone();
        async move { db.close().await }
    });
    // Closing waits for what is under way.
    while db.ping().await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!closing.is_finished());
    late.commit().await.unwrap();
    closing.await.unwrap();
    let error = db.read().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn the_server_has_no_session_left_then() {
    let store = TestStore::postgres().await;
    let (other, db) = (narrow(&store).await, store.open().await);
    db.ping().await.unwrap();
    assert!(sessions_beside(&other).await > 0);
    db.close().await;
    // The server ends a session when it has read that it is wanted.
    while sessions_beside(&other).await > 0 {
        tokio::task::yield_now().await;
    }
}

/// Counts the sessions of the product in a database that are not this one.
async fn sessions_beside(db: &Db) -> i64 {
    number(
        db,
        "SELECT CAST(count(*) AS BIGINT) AS n FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'remuda' AND pid <> pg_backend_pid()",
    )
    .await
}

#[tokio::test]
async fn sqlite_has_no_log_left_then() {
    let store = TestStore::sqlite().await;
    let db = store.migrated().await;
    let file = store.config().url.expose().replace("sqlite:", "");
    let log = std::path::PathBuf::from(format!("{file}-wal"));
    assert!(log.exists());
    let late = db.read().await.unwrap();
    let ((), ended) = tokio::join!(db.close(), async {
        tokio::task::yield_now().await;
        late.commit().await
    });
    ended.unwrap();
    assert!(!log.exists());
}

#[test]
fn a_database_may_be_dropped_after_the_runtime_that_used_it() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let stores = runtime();
        let store = stores.block_on(async {
            match engine {
                Engine::Sqlite => TestStore::sqlite().await,
                Engine::Postgres => TestStore::postgres().await,
            }
        });
        let used = runtime();
        let (db, tx) = used.block_on(async {
            let db = store.open().await;
            db.ping().await.unwrap();
            let tx = db.read().await.unwrap();
            (db, tx)
        });
        drop(used);
        drop(tx);
        drop(db);
    }
}

#[tokio::test]
async fn a_statement_has_the_usual_limit_wherever_it_runs() {
    for store in [TestStore::postgres().await, TestStore::pgbouncer().await] {
        let db = store.open().await;
        for kind in ["read", "read_by_keys", "write", "write_ordered"] {
            let tx = match kind {
                "read" => db.read().await,
                "read_by_keys" => db.read_by_keys().await,
                "write" => db.write().await,
                _ => db.write_ordered().await,
            };
            let mut tx = tx.unwrap();
            let row = tx
                .fetch_optional("SELECT current_setting('statement_timeout') AS most", ())
                .await
                .unwrap();
            tx.commit().await.unwrap();
            let most: String = row.unwrap().get("most").unwrap();
            assert_eq!(most, "15s", "{kind}");
        }
    }
}
