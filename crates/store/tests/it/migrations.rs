//! Bringing databases up to date, and refusing those that cannot be.

use primitives::{Classify as _, ErrorKind};
use store::testing::TestStore;
use store::{MigrateError, params};

store::on_every_engine! {
    a_second_run_changes_nothing,
    many_processes_may_migrate_at_once,
    a_newer_database_is_refused_and_says_what_to_do,
    a_changed_step_is_refused,
    rows_from_before_organisations_belong_to_the_first_one,
}

async fn a_second_run_changes_nothing(store: TestStore) {
    let db = store.open().await;
    let first = db.migrate().await.unwrap();
    for (step, number) in first.steps.iter().zip(1..) {
        assert!(step.starts_with(&format!("{number:04}_")), "{step}");
    }
    assert_eq!(first.version, first.steps.len() as i64);
    let second = db.migrate().await.unwrap();
    assert_eq!(second.version, first.version);
    assert!(second.steps.is_empty());
}

async fn many_processes_may_migrate_at_once(store: TestStore) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let db = store.open().await;
        tasks.spawn(async move { db.migrate().await });
    }
    let mut applied = Vec::new();
    while let Some(result) = tasks.join_next().await {
        applied.push(result.unwrap().unwrap());
    }
    let steps: usize = applied.iter().map(|applied| applied.steps.len()).sum();
    assert!(applied.iter().all(|one| one.version == steps as i64));
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

async fn rows_from_before_organisations_belong_to_the_first_one(store: TestStore) {
    let db = store.open().await;
    db.migrate_up_to(4).await.unwrap();
    let mut tx = db.write().await.unwrap();
    tx.execute(
        "INSERT INTO users (id, username, password_hash, role, created_at) VALUES ('u', 'ann', 'h', 'admin', 1)",
        (),
    )
    .await
    .unwrap();
    let scopes = serde_json::json!(["inference"]);
    tx.execute(
        "INSERT INTO api_keys (id, name, prefix, secret_hash, user_id, scopes, created_at)
         VALUES ('k', 'old', 'rmd_', $1, 'u', $2, 1)",
        params![vec![7_u8; 32], scopes],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();

    let steps = db.migrate().await.unwrap().steps;
    assert_eq!(steps.first(), Some(&"0005_organisations"));
    let mut tx = db.read().await.unwrap();
    let first = "00000000-0000-7000-8000-000000000001";
    for sql in [
        "SELECT o.id, o.name FROM users u JOIN organisations o ON o.id = u.org_id WHERE u.username = 'ann'",
        "SELECT o.id, o.name FROM api_keys k JOIN organisations o ON o.id = k.org_id WHERE k.name = 'old'",
    ] {
        let row = tx.fetch_optional(sql, ()).await.unwrap().unwrap();
        assert_eq!(row.get::<String>("id").unwrap(), first);
        assert_eq!(row.get::<String>("name").unwrap(), "default");
    }
    let key = tx
        .fetch_optional(
            "SELECT priority, requests_per_minute, share_identical FROM api_keys",
            (),
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(key.get::<Option<String>>("priority").unwrap(), None);
    assert_eq!(key.get::<Option<u64>>("requests_per_minute").unwrap(), None);
    assert!(!key.get::<bool>("share_identical").unwrap());
    tx.commit().await.unwrap();
}
