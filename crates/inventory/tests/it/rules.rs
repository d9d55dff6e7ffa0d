//! The rules that the database holds by itself, whoever writes.

use inventory::InventoryConfig;
use store::testing::TestStore;
use store::{Engine, Statement};

use crate::app::Process;

store::on_every_engine! {
    the_database_refuses_what_breaks_a_rule,
    the_database_frees_the_partners_of_a_removed_widget,
}

async fn attempt(process: &Process, sql: impl Into<Statement>) -> bool {
    let mut tx = process.db.write().await.unwrap();
    match tx.execute(sql, ()).await {
        Ok(_) => tx.commit().await.is_ok(),
        Err(_) => false,
    }
}

async fn the_database_refuses_what_breaks_a_rule(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    for sql in [
        "INSERT INTO widgets (id, serial_number, name, ports) VALUES (1000001, 'a', 'n', 'PPQ')",
        "INSERT INTO widgets (id, serial_number, name, ports) VALUES (1000002, 'b', 'n', 'PP')",
        "INSERT INTO widgets (id, serial_number, name, ports) VALUES (1000003, 'c', 'n', 'R')",
    ] {
        assert!(attempt(&process, sql).await, "{sql}");
    }
    let joined = process.pair("associate_widgets", "a", "b", "P").await;
    assert_eq!(joined.status, 204, "{}", joined.body);
    let before = process.table().await;
    for sql in [
        "INSERT INTO widgets (id, serial_number, name, ports) VALUES (1000004, 'a', 'n', 'P')",
        "INSERT INTO widgets (id, serial_number, name, ports) VALUES (1000004, '', 'n', 'P')",
        "INSERT INTO widgets (id, serial_number, name, ports) VALUES (1000004, 'd', 'n', 'PPPP')",
        "INSERT INTO widgets (id, serial_number, name, ports) VALUES (1000004, 'd', 'n', 'p')",
        "INSERT INTO widgets (id, serial_number, name, ports) VALUES (1000004, 'd', 'n', 'PX')",
        "INSERT INTO widgets (id, serial_number, name, ports, slot1) VALUES (1000004, 'd', 'n', 'P', 1000001)",
        // With itself.
        "UPDATE widgets SET slot2 = 1000001 WHERE id = 1000001",
        // Another port, a slot that there is not, a widget that there is not, a second time.
        "UPDATE widgets SET slot1 = 1000001 WHERE id = 1000003",
        "UPDATE widgets SET slot3 = 1000001 WHERE id = 1000002",
        "UPDATE widgets SET slot2 = 77 WHERE id = 1000001",
        "UPDATE widgets SET slot2 = 1000002 WHERE id = 1000001",
        // What is fixed.
        "UPDATE widgets SET ports = 'PPR' WHERE id = 1000001",
        "UPDATE widgets SET serial_number = 'z' WHERE id = 1000001",
        "UPDATE widgets SET id = 5 WHERE id = 1000001",
    ] {
        assert!(!attempt(&process, sql).await, "{sql}");
        assert_eq!(process.table().await, before, "{sql}");
    }
    // One side alone: refused on PostgreSQL, followed by the other on SQLite.
    let parted = attempt(
        &process,
        "UPDATE widgets SET slot1 = NULL WHERE id = 1000001",
    )
    .await;
    match process.db.engine() {
        Engine::Postgres => {
            assert!(!parted);
            assert_eq!(process.table().await, before);
        }
        Engine::Sqlite => {
            assert!(parted);
            assert_eq!(process.table().await["b"], ["P-", "P-"]);
        }
    }
    process.stop().await;
}

async fn the_database_frees_the_partners_of_a_removed_widget(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    for (serial, slots) in [("a", "PQR"), ("b", "PP"), ("c", "QP"), ("d", "R")] {
        process.add(serial, slots).await;
    }
    for (one, other, port) in [
        ("a", "b", "P"),
        ("c", "a", "Q"),
        ("d", "a", "R"),
        ("b", "c", "P"),
    ] {
        let joined = process.pair("associate_widgets", one, other, port).await;
        assert_eq!(joined.status, 204, "{}", joined.body);
    }
    assert!(
        attempt(
            &process,
            "DELETE FROM widgets WHERE serial_number IN ('a', 'b')"
        )
        .await
    );
    let table = process.table().await;
    assert_eq!(table["c"], ["P-", "Q-"]);
    assert_eq!(table["d"], ["R-"]);
    process.stop().await;
}
