//! PostgreSQL is killed (`kill -9`) while callers are busy: what was answered with a success is there afterwards, and what was answered
//! otherwise is not, but for commits whose end nobody knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use inventory::{CallError, Inventory, InventoryConfig, NewWidget, Operation, Pair, Port, Ports};
use primitives::SystemClock;
use serde_json::json;
use store::{Db, StoreConfig};
use testbed::{OwnServer, wait_until};
use tokio::task::JoinHandle;

use crate::app::Process;
use crate::reading::found;

const CALLERS: usize = 24;
const KILLS: usize = 2;
/// Calls that are answered with a success between two kills.
const BETWEEN: usize = 600;
/// The longest time that these take.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the calls about two widgets came to.
#[derive(Debug)]
struct Told {
    name: String,
    acknowledged: usize,
    /// Nobody knows whether the next one was carried out.
    unsure: bool,
}

fn serials(name: &str) -> [String; 2] {
    ["a", "b"].map(|side| format!("{name}-{side}"))
}

/// The calls about two widgets.
fn steps(name: &str) -> [Operation; 6] {
    let [a, b] = serials(name);
    let add = |serial: &str| {
        Operation::Add(NewWidget {
            serial_number: serial.into(),
            name: "n".into(),
            ports: Ports::of(&[Port::P]).unwrap(),
        })
    };
    let pair = || Pair {
        first: a.as_str().into(),
        second: b.as_str().into(),
        port: Port::P,
    };
    [
        add(&a),
        add(&b),
        Operation::Associate(pair()),
        Operation::Disassociate(pair()),
        Operation::Associate(pair()),
        Operation::Remove(a.as_str().into()),
    ]
}

/// Tells whether the table is as it has to be after so many of them.
fn is_after(table: &BTreeMap<String, Vec<String>>, name: &str, calls: usize) -> bool {
    let [a, b] = serials(name);
    let free = "P-".to_owned();
    let (to_a, to_b) = (format!("P-{a}"), format!("P-{b}"));
    let expected = match calls {
        0 => (None, None),
        1 => (Some(&free), None),
        3 | 5 => (Some(&to_b), Some(&to_a)),
        6 => (None, Some(&free)),
        _ => (Some(&free), Some(&free)),
    };
    let slot = |serial: &str| table.get(serial).map(|slots| &slots[0]);
    (slot(&a), slot(&b)) == expected
}

async fn keep_busy(
    inventory: Inventory,
    caller: usize,
    enough: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<Told> {
    let mut all = Vec::new();
    while !enough.load(Ordering::Relaxed) {
        let mut told = Told {
            name: format!("c{caller}-{}", all.len()),
            acknowledged: 0,
            unsure: false,
        };
        for operation in steps(&told.name) {
            match inventory.call(operation).await {
                Ok(()) => {
                    told.acknowledged += 1;
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Err(CallError::Unsure) => {
                    told.unsure = true;
                    break;
                }
                // Nothing was changed.
                Err(CallError::Failed { .. } | CallError::Overloaded) => break,
                Err(error) => panic!("{told:?}: {error}"),
            }
        }
        all.push(told);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9_of_postgres() {
    let mut postgres = OwnServer::postgres().unwrap();
    let db = Db::open(&StoreConfig::new(postgres.url())).await.unwrap();
    db.migrate().await.unwrap();
    let clock = Arc::new(SystemClock::new());
    let mut process = Process::idle_over(db, InventoryConfig::default(), clock).await;
    process.work();
    let (enough, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let callers: Vec<JoinHandle<Vec<Told>>> = (0..CALLERS)
        .map(|caller| {
            tokio::spawn(keep_busy(
                process.inventory.clone(),
                caller,
                Arc::clone(&enough),
                Arc::clone(&acknowledged),
            ))
        })
        .collect();
    for kill in 0..=KILLS {
        let goal = acknowledged.load(Ordering::Relaxed) + BETWEEN;
        let enough = || acknowledged.load(Ordering::Relaxed) >= goal;
        let waited = wait_until("more calls are carried out", PATIENCE, enough).await;
        waited.unwrap();
        if kill == KILLS {
            break;
        }
        postgres.stop("KILL").unwrap();
        // What it had started holds its memory until it has noticed.
        let mut tries = 0;
        while let Err(error) = postgres.start() {
            tries += 1;
            assert!(tries < 100, "{error}");
        }
    }
    enough.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for caller in callers {
        all.extend(caller.await.unwrap());
    }
    let table = process.table().await;
    let mut unsure = 0;
    for told in &all {
        let (name, calls) = (&told.name, told.acknowledged);
        let holds =
            is_after(&table, name, calls) || told.unsure && is_after(&table, name, calls + 1);
        let [a, b] = serials(name);
        assert!(holds, "{told:?}: {:?} {:?}", table.get(&a), table.get(&b));
        unsure += usize::from(told.unsure);
    }
    println!(
        "{} calls were acknowledged, the end of {unsure} is not known",
        acknowledged.load(Ordering::Relaxed)
    );
    let check = found(&process, "/api/v1/inventory/check").await;
    assert_eq!(check["faults"], json!([]));
    process.stop().await;
}
