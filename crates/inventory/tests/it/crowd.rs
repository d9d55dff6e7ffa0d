//! Many callers at once.

use std::collections::BTreeMap;
use std::time::Duration;

use inventory::{CallError, InventoryConfig, NewWidget, Operation, Pair, Port, Ports};
use store::testing::TestStore;

use crate::app::Process;
use crate::histories::Dice;
use crate::model::told;

store::on_every_engine! {
    crossed_calls_neither_deadlock_nor_lose_a_thing,
    callers_of_one_moment_share_transactions,
    a_full_line_refuses_and_who_was_let_in_is_served,
    a_stopped_process_refuses_what_waits,
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
    for client in 0..16_u64 {
        let inventory = processes[usize::from(client % 2 == 0)].inventory.clone();
        clients.push(tokio::spawn(async move {
            let mut dice = Dice(client + 1);
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
            "{one} {other} {port}: {table:?}"
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
    // The duplicates came a transaction later.
    assert_eq!(
        process.metric("remuda_inventory_batch_calls_count"),
        Some(2.0)
    );
    assert_eq!(process.table().await.len(), 180);
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
    let outcome = tokio::time::timeout(Duration::from_mins(1), inventory.call(add(1))).await;
    assert!(
        matches!(outcome, Ok(Err(CallError::Stopping))),
        "{outcome:?}"
    );
}
