//! Bringing databases up to date, and refusing those that cannot be.

use primitives::{Classify as _, ErrorKind};
use store::testing::TestStore;
use store::{MigrateError, params};

store::on_every_engine! {
    a_second_run_changes_nothing,
    many_processes_may_migrate_at_once,
    a_newer_database_is_refused_and_says_what_to_do,
    a_changed_step_is_refused,
}

async fn a_second_run_changes_nothing(store: TestStore) {
    let db = store.open().await;
    let first = db.migrate().await.unwrap();
    assert_eq!(
        first.steps,
        [
            "0001_identity",
            "0002_nodes",
            "0003_requests",
            "0004_request_indexes",
            "0005_organisations",
            "0006_shared_answers",
        ]
    );
    let second = db.migrate().await.unwrap();
    assert_eq!(second.version, first.version);
    assert!(second.steps.is_empty());
}

async fn many_processes_may_migrate_at_once(store: TestStore) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let db = store.open().await;
        tasks.spawn(async move { db.migrate().await.map(|applied| applied.steps.len()) });
    }
    let mut steps = 0;
    while let Some(result) = tasks.join_next().await {
        steps += result.unwrap().unwrap();
    }
    assert_eq!(steps, 6);
}

async fn a_newer_database_is_refused_and_says_what_to_do(store: TestStore) {
    let db = store.migrated().await;
    let mut tx = db.write().await.unwrap();
    tx.execute(
        "INSERT INTO _migrations (version, name, checksum) VALUES ($1, 'later', 'x')",
        params![9000],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let error = db.migrate().await.unwrap_err();
    assert!(
        matches!(error, MigrateError::Newer { database: 9000, .. }),
        "{error:?}"
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.public_message().contains("start the newer build"));
}

async fn a_changed_step_is_refused(store: TestStore) {
    let db = store.migrated().await;
    let mut tx = db.write().await.unwrap();
    tx.execute(
        "UPDATE _migrations SET checksum = 'x' WHERE version = 2",
        (),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let error = db.migrate().await.unwrap_err();
    assert!(
        matches!(error, MigrateError::Changed { name: "0002_nodes" }),
        "{error:?}"
    );
}
