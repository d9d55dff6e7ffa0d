//! A backup holds both sides of every association, and the rules hold again where it was restored.

use inventory::InventoryConfig;
use primitives::Timestamp;
use store::backup;
use store::testing::TestStore;

use crate::app::{Process, sealer};

store::on_every_engine! {
    associations_survive_a_backup_and_the_rules_hold_afterwards,
}

async fn associations_survive_a_backup_and_the_rules_hold_afterwards(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    for serial in ["a", "b", "c"] {
        process.add(serial, "PQ").await;
    }
    for (one, other, port) in [("a", "b", "P"), ("c", "a", "Q")] {
        let joined = process.pair("associate_widgets", one, other, port).await;
        assert_eq!(joined.status, 204, "{}", joined.body);
    }
    let before = process.table().await;
    let now = Timestamp::from_micros(1);
    let (_, file) = backup::create(&process.db, &sealer(), now, Vec::new())
        .await
        .unwrap();
    process.stop().await;
    for target in [TestStore::sqlite().await, TestStore::postgres().await] {
        let db = target.open().await;
        backup::restore(&db, &sealer(), file.as_slice())
            .await
            .unwrap();
        let restored = Process::start(&target, InventoryConfig::default()).await;
        assert_eq!(restored.table().await, before);
        let mut tx = restored.db.write().await.unwrap();
        let occupied = "INSERT INTO widgets (id, serial_number, name, ports, slot1) VALUES (99, 'd', 'n', 'P', 1)";
        assert!(tx.execute(occupied, ()).await.is_err());
        drop(tx);
        // Numbers go on where they stopped, and partners are freed.
        assert_eq!(restored.add("d", "P").await.status, 204);
        assert_eq!(restored.remove("a").await.status, 204);
        assert_eq!(restored.table().await["c"], ["P-", "Q-"]);
        restored.stop().await;
        let again = backup::restore(&db, &sealer(), file.as_slice()).await;
        assert!(again.is_err(), "it is not empty");
    }
}
