//! What the statements for uploads promise when several come at once.

use ::store::Db;
use ::store::testing::TestStore;
use agent_proto::SigningKey;

use super::*;

::store::on_every_engine! {
    a_piece_of_an_upload_that_another_one_has_replaced_comes_too_late,
    a_release_is_forgotten_an_hour_after_its_last_upload_has_begun
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_micros(minutes * 60_000_000)
}

async fn announced(db: &Db) -> String {
    let key = SigningKey::generate().unwrap();
    let manifest = key.sign("1.2.3".parse().unwrap(), "plan9-mips", b"program");
    let manifest = manifest.unwrap();
    let release = Release {
        id: Release::id_of(&manifest),
        manifest,
        created_by: "somebody".to_owned(),
        created_at: at(0),
        completed_at: None,
    };
    let mut tx = db.write().await.unwrap();
    insert_release(&mut tx, &release).await.unwrap();
    tx.commit().await.unwrap();
    release.id
}

async fn a_piece_of_an_upload_that_another_one_has_replaced_comes_too_late(store: TestStore) {
    let db = store.migrated().await;
    let id = announced(&db).await;
    let mut tx = db.write().await.unwrap();
    assert!(begin_upload(&mut tx, &id, "first", at(1)).await.unwrap());
    assert!(
        insert_piece(&mut tx, &id, "first", 0, vec![1])
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();

    let mut tx = db.write().await.unwrap();
    assert!(begin_upload(&mut tx, &id, "second", at(2)).await.unwrap());
    let late = {
        let (db, id) = (db.clone(), id.clone());
        tokio::spawn(async move {
            let mut tx = db.write().await.unwrap();
            let stored = insert_piece(&mut tx, &id, "first", 1, vec![2])
                .await
                .unwrap();
            tx.commit().await.unwrap();
            stored
        })
    };
    // It has looked at the release as it was before, and waits.
    while tx.engine() == ::store::Engine::Postgres {
        // Within a transaction the activity is that of the first look.
        let fresh = "SELECT pg_stat_clear_snapshot()";
        tx.execute(fresh, ()).await.unwrap();
        let waiting = "SELECT count(*) AS waiting FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let row = tx
            .fetch_optional(waiting, params![])
            .await
            .unwrap()
            .unwrap();
        if row.get::<i64>("waiting").unwrap() > 0 {
            break;
        }
    }
    tx.commit().await.unwrap();
    assert!(!late.await.unwrap());
    let mut tx = db.write().await.unwrap();
    assert!(find_piece(&mut tx, &id, 1).await.unwrap().is_none());
    assert!(
        insert_piece(&mut tx, &id, "second", 0, vec![3])
            .await
            .unwrap()
    );
    assert!(
        complete_release(&mut tx, &id, "second", at(3))
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
}

async fn a_release_is_forgotten_an_hour_after_its_last_upload_has_begun(store: TestStore) {
    let db = store.migrated().await;
    let id = announced(&db).await;
    let mut tx = db.write().await.unwrap();
    wait_anew(&mut tx, &id, at(30)).await.unwrap();
    forget(&mut tx, at(10), at(0)).await.unwrap();
    assert!(begin_upload(&mut tx, &id, "first", at(59)).await.unwrap());
    forget(&mut tx, at(58), at(0)).await.unwrap();
    assert!(
        insert_piece(&mut tx, &id, "first", 0, vec![1])
            .await
            .unwrap()
    );
    forget(&mut tx, at(60), at(0)).await.unwrap();
    assert!(find_release(&mut tx, &id).await.unwrap().is_none());
    tx.commit().await.unwrap();
}
