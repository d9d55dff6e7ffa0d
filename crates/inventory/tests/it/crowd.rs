//! Many callers at once.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use inventory::{CallError, InventoryConfig, NewWidget, Operation, Pair, Port, Ports, Refusal};
use store::testing::TestStore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::app::Process;
use crate::histories::{Dice, seed};
use crate::model::told;
use crate::moving::import;

store::on_every_engine! {
    crossed_calls_neither_deadlock_nor_lose_a_thing,
    callers_of_one_moment_share_transactions,
    calls_that_come_alone_go_alone,
    callers_of_one_serial_number_share_a_transaction,
    one_call_that_the_database_refuses_does_not_cost_the_others,
    a_full_line_refuses_and_who_was_let_in_is_served,
    a_stopped_process_refuses_what_waits,
    calls_that_are_left_for_later_keep_their_order_and_need_no_others_to_come,
    a_call_that_is_left_for_later_when_the_process_stops_is_told_so,
}

async fn crossed_calls_neither_deadlock_nor_lose_a_thing(store: TestStore) {
    let config = InventoryConfig {
        batch_beside: 1,
        writers: 3,
        ..InventoryConfig::default()
    };
    let processes = [
        Process::start(&store, config).await,
        Process::start(&store, config).await,
    ];
    let serials: Vec<String> = (0..6).map(|number| format!("w{number}")).collect();
    for serial in &serials {
        assert_eq!(processes[0].add(serial, "PPQ").await.status, 204);
    }
    let mut clients = Vec::new();
    let seed = seed();
    for client in 0..16_u64 {
        let inventory = processes[usize::from(client % 2 == 0)].inventory.clone();
        clients.push(tokio::spawn(async move {
            let mut dice = Dice::of(seed, client);
            let mut balance: BTreeMap<(String, String, Port), i64> = BTreeMap::new();
            for _ in 0..40 {
                let (one, other) = (dice.below(6), dice.below(6));
                let port = [Port::P, Port::Q][dice.below(2)];
                let pair = Pair {
                    first: format!("w{one}").into(),
                    second: format!("w{other}").into(),
                    port,
                };
                let key = (
                    format!("w{}", one.min(other)),
                    format!("w{}", one.max(other)),
                    port,
                );
                let joins = dice.below(2) == 0;
                let operation = if joins {
                    Operation::Associate(pair)
                } else {
                    Operation::Disassociate(pair)
                };
                if told(&inventory.call(operation).await).is_ok() {
                    *balance.entry(key).or_default() += if joins { 1 } else { -1 };
                }
            }
            balance
        }));
    }
    let mut balance: BTreeMap<(String, String, Port), i64> = BTreeMap::new();
    for client in clients {
        for (key, change) in client.await.unwrap() {
            *balance.entry(key).or_default() += change;
        }
    }
    let table = processes[0].table().await;
    for ((one, other, port), count) in balance {
        let here = table[&one].contains(&format!("{port}-{other}"));
        let there = table[&other].contains(&format!("{port}-{one}"));
        assert_eq!(
            (i64::from(here), i64::from(there)),
            (count, count),
            "seed {seed}, {one} {other} {port}: {table:?}"
        );
    }
    for process in processes {
        process.stop().await;
    }
}

fn add(number: usize) -> Operation {
    Operation::Add(NewWidget {
        serial_number: format!("w{number}").into(),
        name: "n".into(),
        ports: Ports::of(&[Port::P]).unwrap(),
    })
}

async fn callers_of_one_moment_share_transactions(store: TestStore) {
    let config = InventoryConfig {
        max_batch: 256,
        ..InventoryConfig::default()
    };
    let mut process = Process::idle(&store, config).await;
    let mut calls = Vec::new();
    for number in 0..200 {
        // One in ten is a duplicate, and the others do not suffer for it.
        let operation = add(number - usize::from(number % 10 == 9));
        let inventory = process.inventory.clone();
        calls.push(tokio::spawn(async move { inventory.call(operation).await }));
    }
    while process.metric("remuda_inventory_waiting") != Some(200.0) {
        tokio::task::yield_now().await;
    }
    process.work();
    let (mut done, mut refused) = (0, 0);
    for call in calls {
        match told(&call.await.unwrap()) {
            Ok(()) => done += 1,
            Err(why) => {
                assert_eq!(why, "serial_taken");
                refused += 1;
            }
        }
    }
    assert_eq!((done, refused), (180, 20));
    // The duplicates did not need another one.
    assert_eq!(
        process.metric("remuda_inventory_batch_calls_count"),
        Some(1.0)
    );
    assert_eq!(process.table().await.len(), 180);
    process.stop().await;
}

async fn calls_that_come_alone_go_alone(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    for number in 0..3 {
        process.inventory.call(add(number)).await.unwrap();
    }
    let batches = ["count", "sum"]
        .map(|what| process.metric(&format!("remuda_inventory_batch_calls_{what}")));
    assert_eq!(batches, [Some(3.0), Some(3.0)]);
    process.stop().await;
}

async fn callers_of_one_serial_number_share_a_transaction(store: TestStore) {
    let config = InventoryConfig {
        max_batch: 512,
        ..InventoryConfig::default()
    };
    let mut process = Process::idle(&store, config).await;
    let callers = |process: &Process| -> Vec<_> {
        let inventory = process.inventory.clone();
        let call = move |_| {
            let inventory = inventory.clone();
            tokio::spawn(async move { inventory.call(add(7)).await })
        };
        (0..300).map(call).collect()
    };
    let first = callers(&process);
    while process.metric("remuda_inventory_waiting") != Some(300.0) {
        tokio::task::yield_now().await;
    }
    process.work();
    let mut made = 0;
    for call in first {
        match told(&call.await.unwrap()) {
            Ok(()) => made += 1,
            Err(why) => assert_eq!(why, "serial_taken"),
        }
    }
    assert_eq!(made, 1);
    let batches = process.metric("remuda_inventory_batch_calls_count");
    assert_eq!(batches, Some(1.0));
    // Also where the first of them is not new.
    for call in callers(&process) {
        assert_eq!(told(&call.await.unwrap()), Err("serial_taken"));
    }
    let later = process.metric("remuda_inventory_calls_left_for_later_total");
    assert_eq!(later, Some(0.0));
    process.stop().await;
}

async fn one_call_that_the_database_refuses_does_not_cost_the_others(store: TestStore) {
    let mut process = Process::idle(&store, InventoryConfig::default()).await;
    let mut tx = process.db.write().await.unwrap();
    let rule = store::Statement::per_engine(
        "CREATE TRIGGER no_w3 BEFORE INSERT ON widgets WHEN NEW.serial_number = 'w3' BEGIN SELECT RAISE(ABORT, 'no'); END",
        "ALTER TABLE widgets ADD CONSTRAINT no_w3 CHECK (serial_number <> 'w3')",
    );
    tx.execute(rule, ()).await.unwrap();
    tx.commit().await.unwrap();
    let mut calls = Vec::new();
    for number in 0..8 {
        let inventory = process.inventory.clone();
        calls.push(tokio::spawn(
            async move { inventory.call(add(number)).await },
        ));
    }
    while process.metric("remuda_inventory_waiting") != Some(8.0) {
        tokio::task::yield_now().await;
    }
    process.work();
    for (number, call) in calls.into_iter().enumerate() {
        let outcome = call.await.unwrap();
        if number == 3 {
            let failed = matches!(outcome, Err(CallError::Failed { .. }));
            assert!(failed, "{outcome:?}");
        } else {
            outcome.unwrap();
        }
    }
    assert_eq!(process.table().await.len(), 7);
    process.stop().await;
}

/// Begins a transaction of somebody else that makes `B`, removes `A`, and cannot end well.
async fn doomed(process: &Process) -> store::Tx {
    let mut other = process.db.write().await.unwrap();
    for sql in [
        "PRAGMA defer_foreign_keys = ON",
        "INSERT INTO node_parts (node_id, serial_number) VALUES ('no such node', 'A')",
        "DELETE FROM widgets WHERE serial_number = 'A'",
        "INSERT INTO widgets (id, serial_number, name, ports) VALUES (1000000, 'B', 'n', '')",
    ] {
        other.execute(sql, ()).await.unwrap();
    }
    other
}

/// What a batch has read may be what others wrote in the same transaction, whose commit fails.
#[tokio::test]
async fn what_was_undone_refuses_nobody() {
    let store = TestStore::sqlite().await;
    let process = Process::start(&store, InventoryConfig::default()).await;
    assert_eq!(process.add("A", "P").await.status, 204);
    let other = doomed(&process).await;
    let inventory = process.inventory.clone();
    let call =
        tokio::spawn(async move { inventory.call(Operation::Associate(pair("B", "A"))).await });
    while process.db.writers_waiting() == 0 {
        tokio::task::yield_now().await;
    }
    // The batch joins the transaction, in which there is no A and there is B.
    let ended = other.commit().await;
    assert!(ended.is_err(), "the node does not exist");
    let outcome = call.await.unwrap();
    let unknown =
        matches!(&outcome, Err(CallError::Refused(Refusal::Unknown(serial))) if &**serial == "B");
    assert!(unknown, "{outcome:?}");
    process.stop().await;
}

/// What a batch has written may be undone with what others wrote in the same transaction: it is written again, on what is there now.
#[tokio::test]
async fn what_was_undone_is_done_again() {
    let store = TestStore::sqlite().await;
    let mut process = Process::idle(&store, InventoryConfig::default()).await;
    let made = import(&process, "format=csv", "A,n,P\nw1,n,P\n").await;
    assert_eq!(made.body["made"], 2, "{}", made.body);
    let operations = vec![
        add(2),
        Operation::Associate(pair("w1", "A")),
        Operation::Remove("B".into()),
    ];
    let calls = queue(&process, operations).await;
    let other = doomed(&process).await;
    process.work();
    while process.db.writers_waiting() == 0 {
        tokio::task::yield_now().await;
    }
    // They are refused or carried out on what the transaction holds.
    assert!(other.commit().await.is_err(), "the node does not exist");
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let table = process.table().await;
    assert_eq!(table.keys().collect::<Vec<_>>(), ["A", "w1", "w2"]);
    assert_eq!(table["w1"], ["P-A"]);
    process.stop().await;
}

#[tokio::test]
async fn a_restart_of_the_database_costs_no_call_that_comes_afterwards() {
    let store = TestStore::postgres().await;
    let process = Process::start(&store, InventoryConfig::default()).await;
    process.inventory.call(add(1)).await.unwrap();
    // All connections that there may be have been used, and rest.
    let most = store.config().max_connections;
    let reading = join_all((0..most).map(|_| process.db.read())).await;
    for tx in reading {
        tx.unwrap().commit().await.unwrap();
    }
    store.stop(&process.db).await;
    store.resume().await;
    process.inventory.call(add(1_000)).await.unwrap();
    process.inventory.call(add(1_001)).await.unwrap();
    process.stop().await;
}

async fn a_full_line_refuses_and_who_was_let_in_is_served(store: TestStore) {
    let config = InventoryConfig {
        max_waiting: 10,
        ..InventoryConfig::default()
    };
    let mut process = Process::idle(&store, config).await;
    let mut calls = Vec::new();
    for number in 0..10 {
        let inventory = process.inventory.clone();
        calls.push(tokio::spawn(
            async move { inventory.call(add(number)).await },
        ));
    }
    while process.metric("remuda_inventory_waiting") != Some(10.0) {
        tokio::task::yield_now().await;
    }
    let refused = process.add("late", "P").await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.body["code"], "53400");
    process.work();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(process.table().await.len(), 10);
    assert_eq!(process.add("late", "P").await.status, 204);
    process.stop().await;
}

async fn a_stopped_process_refuses_what_waits(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    assert_eq!(process.add("A", "P").await.status, 204);
    let inventory = process.inventory.clone();
    process.stop().await;
    let outcome = timeout(Duration::from_mins(1), inventory.call(add(1))).await;
    assert!(
        matches!(outcome, Ok(Err(CallError::Stopping))),
        "{outcome:?}"
    );
}

fn pair(first: &str, second: &str) -> Pair {
    Pair {
        first: first.into(),
        second: second.into(),
        port: Port::P,
    }
}

/// Has calls stand in line, one after the other.
async fn queue(
    process: &Process,
    operations: Vec<Operation>,
) -> Vec<JoinHandle<Result<(), CallError>>> {
    let mut calls = Vec::new();
    for operation in operations {
        let inventory = process.inventory.clone();
        calls.push(tokio::spawn(async move { inventory.call(operation).await }));
        while process.metric("remuda_inventory_waiting") != Some(calls.len() as f64) {
            tokio::task::yield_now().await;
        }
    }
    calls
}

async fn calls_that_are_left_for_later_keep_their_order_and_need_no_others_to_come(
    store: TestStore,
) {
    // All in one transaction, and fewer than are left by it.
    for (max_batch, transactions) in [(96, 3.0), (2, 4.0)] {
        let config = InventoryConfig {
            max_batch,
            writers: 1,
            ..InventoryConfig::default()
        };
        let mut process = Process::idle(&store, config).await;
        let (hub, part) = (format!("hub {max_batch}"), format!("part {max_batch}"));
        let lines = format!("{hub},n,P\n{part},n,Q\n");
        let made = import(&process, "format=csv", &lines).await;
        assert_eq!(made.body["made"], 2, "{}", made.body);
        // Each is carried out only after the one before it, and the first three of them not in one transaction.
        let operations = vec![
            Operation::Remove(part.as_str().into()),
            Operation::Add(NewWidget {
                serial_number: part.as_str().into(),
                name: "n".into(),
                ports: Ports::of(&[Port::P]).unwrap(),
            }),
            Operation::Associate(pair(&part, &hub)),
            Operation::Disassociate(pair(&hub, &part)),
            Operation::Associate(pair(&hub, &part)),
            Operation::Associate(pair(&part, &hub)),
        ];
        let calls = queue(&process, operations).await;
        process.work();
        let told = timeout(Duration::from_mins(1), join_all(calls)).await;
        let told: Vec<_> = told.unwrap().into_iter().map(Result::unwrap).collect();
        let (last, before) = told.split_last().unwrap();
        for outcome in before {
            assert!(outcome.is_ok(), "{told:?}");
        }
        // And each has an outcome of its own.
        let full = matches!(last, Err(CallError::Refused(Refusal::NoFreeSlot { serial, .. })) if **serial == part);
        assert!(full, "{told:?}");
        assert_eq!(process.table().await[&part], [format!("P-{hub}")]);
        let batches = process.metric("remuda_inventory_batch_calls_count");
        assert_eq!(batches, Some(transactions));
        process.stop().await;
    }
}

async fn a_call_that_is_left_for_later_when_the_process_stops_is_told_so(store: TestStore) {
    let mut process = Process::idle(&store, InventoryConfig::default()).await;
    let made = import(&process, "format=csv", "w1,n,P\n").await;
    assert_eq!(made.body["made"], 1, "{}", made.body);
    let mut holds = process.db.write().await.unwrap();
    let lock = store::Statement::per_engine(
        "SELECT id FROM widgets WHERE serial_number = 'w1'",
        "SELECT id FROM widgets WHERE serial_number = 'w1' FOR UPDATE",
    );
    holds.fetch_all(lock, ()).await.unwrap();
    let calls = queue(&process, vec![Operation::Remove("w1".into()), add(1)]).await;
    process.work();
    while process.metric("remuda_inventory_waiting") != Some(0.0) {
        tokio::task::yield_now().await;
    }
    // Both are in one transaction, which waits.
    process.stop_working();
    holds.commit().await.unwrap();
    let told = timeout(Duration::from_mins(1), join_all(calls)).await;
    let told: Vec<_> = told.unwrap().into_iter().map(Result::unwrap).collect();
    assert!(
        matches!(told[..], [Ok(()), Err(CallError::Stopping)]),
        "{told:?}"
    );
    assert!(process.table().await.is_empty());
    process.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_lost_on_the_way_costs_no_call() {
    let store = TestStore::postgres().await;
    let process = Process::start(&store, InventoryConfig::default()).await;
    for serial in ["A", "B"] {
        assert_eq!(process.add(serial, "P").await.status, 204);
    }
    let mut holds = process.db.write().await.unwrap();
    let lock = "SELECT id FROM widgets WHERE serial_number = 'A' FOR UPDATE";
    holds.fetch_all(lock, ()).await.unwrap();
    let joining = process.pair("associate_widgets", "A", "B", "P");
    let ended = async {
        // As an administrator does, or a failing server.
        let end =
            "SELECT CAST(count(pg_terminate_backend(pid)) AS BIGINT) AS n FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock'";
        loop {
            let row = process.db.glance(end, ()).await.unwrap().unwrap();
            if row.get::<i64>("n").unwrap() == 1 {
                break;
            }
        }
        holds.commit().await.unwrap();
    };
    let (joined, ()) = tokio::join!(joining, ended);
    assert_eq!(joined.status, 204, "{}", joined.body);
    assert_eq!(process.table().await["B"], ["P-A"]);
    process.stop().await;
}
