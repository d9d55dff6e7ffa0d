//! Backups: made while others write, from either engine into either.

use primitives::{Classify as _, Secret, Timestamp};
use serde_json::json;
use store::backup::{self, BackupError, Summary};
use store::testing::TestStore;
use store::{Db, Json, SealError, Sealer, params};

store::on_every_engine!(
    a_backup_is_restored_to_the_last_bit,
    a_backup_shows_one_moment_while_others_write,
    what_is_changed_cut_off_or_anothers_is_noticed,
    a_database_with_something_in_it_is_left_alone,
);

fn sealer(byte: u8) -> Sealer {
    let text = [
        "",
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=",
    ];
    Sealer::from_base64(&Secret::new(text[usize::from(byte)].to_owned())).unwrap()
}

const NOW: Timestamp = Timestamp::from_micros(1_767_323_045_000_000);

async fn back_up(db: &Db) -> (Summary, Vec<u8>) {
    backup::create(db, &sealer(1), NOW, Vec::new())
        .await
        .unwrap()
}

/// Stores rows with every type of column, with what is awkward in each, children and their parents.
async fn fill(db: &Db, rows: i64) {
    let mut tx = db.write().await.unwrap();
    for number in 0..rows {
        let id = format!("user-{number:05}");
        tx.execute(
            "INSERT INTO users (id, username, password_hash, role, created_at, totp_secret) VALUES ($1, $2, $3, 'user', $4, $5)",
            params![id.as_str(), format!("näme \\\" {number}\n"), "x", i64::MAX - number, vec![0_u8, 255, 10]],
        )
        .await
        .unwrap();
        tx.execute(
            "INSERT INTO api_keys (id, name, prefix, secret_hash, user_id, models, scopes, created_at) VALUES ($1, 'k', 'p', $2, $3, $4, $5, 1)",
            params![
                format!("key-{number:05}"),
                number.to_le_bytes().as_slice(),
                id.as_str(),
                (number % 2 == 0).then(|| json!(["a*", "ü"])),
                json!(["inference"])
            ],
        )
        .await
        .unwrap();
    }
    tx.execute(
        "INSERT INTO nodes (id, name, url, kind, tags, weight, draining, source, created_at, updated_at)
         VALUES ('n', 'n', 'http://n', 'ollama', $1, $2, $3, 'api', 1, 1)",
        params![json!([]), 0.1 + 0.2, true],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

async fn read(db: &Db, sql: &'static str) -> Vec<String> {
    let mut tx = db.read().await.unwrap();
    let rows = tx.fetch_all(sql, ()).await.unwrap();
    tx.commit().await.unwrap();
    rows.iter().map(|row| row.get("seen").unwrap()).collect()
}

async fn a_backup_is_restored_to_the_last_bit(store: TestStore) {
    let db = store.migrated().await;
    fill(&db, 1_203).await;
    let (summary, file) = back_up(&db).await;
    assert_eq!(
        summary
            .tables
            .iter()
            .find(|(table, _)| table == "users")
            .unwrap()
            .1,
        1_203
    );
    assert_eq!(
        backup::verify(&sealer(1), file.as_slice()).unwrap(),
        summary
    );
    assert!(
        !file.windows(4).any(|part| part == b"user"),
        "nothing is readable"
    );
    // Into both engines, whichever it came from.
    for target in [TestStore::sqlite().await, TestStore::postgres().await] {
        let other = target.open().await;
        let restored = backup::restore(&other, &sealer(1), file.as_slice())
            .await
            .unwrap();
        assert_eq!(restored, summary);
        for sql in [
            "SELECT username AS seen FROM users ORDER BY id",
            "SELECT CAST(created_at AS TEXT) AS seen FROM users ORDER BY id",
            "SELECT user_id AS seen FROM api_keys ORDER BY id",
            "SELECT name AS seen FROM organisations",
        ] {
            assert_eq!(read(&other, sql).await, read(&db, sql).await, "{sql}");
        }
        let mut tx = other.read().await.unwrap();
        let node = tx
            .fetch_optional("SELECT weight, draining, region FROM nodes", ())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            node.get::<f64>("weight").unwrap().to_bits(),
            (0.1_f64 + 0.2).to_bits()
        );
        assert!(node.get::<bool>("draining").unwrap());
        assert_eq!(node.get::<Option<String>>("region").unwrap(), None);
        let keys = tx
            .fetch_all(
                "SELECT models, secret_hash FROM api_keys ORDER BY id LIMIT 2",
                (),
            )
            .await
            .unwrap();
        let Json(models) = keys[0].get::<Json<Vec<String>>>("models").unwrap();
        assert_eq!(models, ["a*", "ü"]);
        assert_eq!(
            keys[1].get::<Vec<u8>>("secret_hash").unwrap(),
            1_i64.to_le_bytes()
        );
        tx.commit().await.unwrap();
        let again = back_up(&other).await.0;
        assert_eq!(again.tables, summary.tables);
        other.close().await;
    }
}

async fn a_backup_shows_one_moment_while_others_write(store: TestStore) {
    let db = store.migrated().await;
    fill(&db, 600).await;
    let writing = {
        let db = db.clone();
        async move {
            for number in 0..50_i64 {
                // Each change takes one from one place and puts it into another.
                let mut tx = db.write().await.unwrap();
                tx.execute(
                    "DELETE FROM api_keys WHERE id = $1",
                    params![format!("key-{number:05}")],
                )
                .await
                .unwrap();
                tx.execute(
                    "INSERT INTO settings (key, value) VALUES ($1, '')",
                    params![format!("was-{number:05}")],
                )
                .await
                .unwrap();
                tx.commit().await.unwrap();
            }
        }
    };
    let writing = tokio::spawn(writing);
    let mut backups = Vec::new();
    for _ in 0..4 {
        backups.push(back_up(&db).await);
    }
    writing.await.unwrap();
    for (summary, file) in backups {
        assert_eq!(
            backup::verify(&sealer(1), file.as_slice()).unwrap(),
            summary
        );
        let rows = |name: &str| {
            summary
                .tables
                .iter()
                .find(|(table, _)| table == name)
                .unwrap()
                .1
        };
        assert_eq!(
            rows("api_keys") + rows("settings"),
            600,
            "{:?}",
            summary.tables
        );
    }
}

async fn what_is_changed_cut_off_or_anothers_is_noticed(store: TestStore) {
    let db = store.migrated().await;
    fill(&db, 20).await;
    let (_, file) = back_up(&db).await;
    for position in (0..file.len()).step_by(97) {
        let mut changed = file.clone();
        changed[position] ^= 1;
        assert!(
            backup::verify(&sealer(1), changed.as_slice()).is_err(),
            "at {position}"
        );
        assert!(
            backup::verify(&sealer(1), &file[..position]).is_err(),
            "cut at {position}"
        );
    }
    let mut longer = file.clone();
    longer.extend_from_slice(&[0, 0, 0, 0]);
    assert!(backup::verify(&sealer(1), longer.as_slice()).is_err());
    let error = backup::verify(&sealer(2), file.as_slice()).unwrap_err();
    assert!(
        matches!(error, BackupError::Seal(SealError::OtherKey)),
        "{error}"
    );
    assert!(error.public_message().contains("encryption_key"));
    let error = backup::verify(&sealer(1), b"SQLite format 3".as_slice()).unwrap_err();
    assert!(matches!(error, BackupError::NoBackup), "{error}");
    // A restore that fails leaves nothing.
    let target = TestStore::sqlite().await;
    let other = target.open().await;
    let cut = &file[..file.len() - 1];
    assert!(backup::restore(&other, &sealer(1), cut).await.is_err());
    assert!(
        read(&other, "SELECT id AS seen FROM users")
            .await
            .is_empty()
    );
    backup::restore(&other, &sealer(1), file.as_slice())
        .await
        .unwrap();
}

async fn a_database_with_something_in_it_is_left_alone(store: TestStore) {
    let db = store.migrated().await;
    fill(&db, 2).await;
    let (_, file) = back_up(&db).await;
    let error = backup::restore(&db, &sealer(1), file.as_slice())
        .await
        .unwrap_err();
    assert!(matches!(error, BackupError::NotEmpty(_)), "{error}");
    assert_eq!(read(&db, "SELECT id AS seen FROM users").await.len(), 2);
}
