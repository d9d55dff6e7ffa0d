//! Commits whose end nobody knows: the connection to the database is lost between COMMIT and its answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use inventory::InventoryConfig;
use primitives::{Secret, SystemClock};
use store::testing::TestStore;
use store::{Db, StoreConfig};
use testbed::{LinkBreaker, Lost};

use crate::app::{Answer, Process};
use crate::moving::import;
use crate::reading::found;
use crate::rpc::assert_error;

const UNSURE: &str = "the database was lost while the change was made to last: it may have been made or not; asked for again, it is not made twice";

/// One call of each kind, about widgets that are there: A and B are free, C and D are joined, E is to go.
async fn change_all(process: &Process) -> [Answer; 4] {
    let (add, associate, part, remove) = tokio::join!(
        process.add("X", "P"),
        process.pair("associate_widgets", "A", "B", "P"),
        process.pair("remove_association", "C", "D", "P"),
        process.remove("E"),
    );
    [add, associate, part, remove]
}

async fn callers_learn_what_to_do(store: TestStore, lost: Lost) {
    let direct = Process::start(&store, InventoryConfig::default()).await;
    for serial in ["A", "B", "C", "D", "E"] {
        assert_eq!(direct.add(serial, "P").await.status, 204);
    }
    let joined = direct.pair("associate_widgets", "C", "D", "P").await;
    assert_eq!(joined.status, 204, "{}", joined.body);

    let url = store.config().url.expose();
    let link = LinkBreaker::before(url).await.unwrap();
    let config = StoreConfig {
        url: Secret::new(link.through(url).unwrap()),
        ..store.config().clone()
    };
    let db = Db::open(&config).await.unwrap();
    let clock = Arc::new(SystemClock::new());
    let process = Process::idle_over(db, InventoryConfig::default(), clock).await;
    // It has numbers for new widgets then, so that the next COMMIT is that of the calls.
    let made = import(&process, "format=csv", "numbers,n,P\n").await;
    assert_eq!(made.body["made"], 1, "{}", made.body);
    let before = direct.table().await;
    let mut after = before.clone();
    for (serial, slots) in [
        ("X", "P-"),
        ("A", "P-B"),
        ("B", "P-A"),
        ("C", "P-"),
        ("D", "P-"),
    ] {
        after.insert(serial.to_owned(), vec![slots.to_owned()]);
    }
    after.remove("E");

    let mut working = None;
    let together = async {
        while process.metric("remuda_inventory_waiting") != Some(4.0) {
            tokio::task::yield_now().await;
        }
        link.cut_at(b"COMMIT", lost);
        working = Some(tokio::spawn(
            process.inventory.clone().work(process.stopping()),
        ));
    };
    let (answers, ()) = tokio::join!(change_all(&process), together);
    let hints = [
        "23505",
        "shows whether they are joined",
        "are not associated",
        "is no mistake",
    ];
    for (answer, hint) in answers.iter().zip(hints) {
        assert_error(answer, 503, "08007", UNSURE);
        assert_eq!(answer.headers["retry-after"], "1");
        let told = answer.body["hint"].as_str().unwrap();
        assert!(
            told.starts_with("Send it again") && told.contains(hint),
            "{told}"
        );
    }
    assert!(link.is_cut());
    // All of it or nothing.
    let (there, again): (&BTreeMap<_, _>, _) = match lost {
        Lost::Question => (&before, [204, 204, 204, 204]),
        Lost::Answer => (&after, [409, 400, 400, 204]),
    };
    assert_eq!(direct.table().await, *there);
    let check = found(&direct, "/api/v1/inventory/check").await;
    assert_eq!(check["faults"].as_array().unwrap().len(), 0, "{check}");

    link.restore();
    let repeated = change_all(&process).await;
    for (answer, status) in repeated.iter().zip(again) {
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    assert_eq!(direct.table().await, after);
    if lost == Lost::Answer {
        assert_eq!(repeated[0].body["code"], "23505");
        let told = repeated[2].body["message"].as_str().unwrap();
        assert!(told.contains("are not associated"), "{told}");
        let shown = found(&process, "/api/v1/inventory/widgets/A").await;
        assert_eq!(shown["slots"][0]["partner"], "B", "{shown}");
    }
    process.stop_working();
    working.unwrap().await.unwrap();
    direct.stop().await;
}

#[tokio::test]
async fn of_a_lost_commit_callers_learn_what_to_do() {
    callers_learn_what_to_do(TestStore::postgres().await, Lost::Question).await;
}

#[tokio::test]
async fn of_a_commit_whose_answer_is_lost_callers_learn_what_to_do() {
    callers_learn_what_to_do(TestStore::postgres().await, Lost::Answer).await;
}

#[tokio::test]
async fn of_a_commit_lost_before_pgbouncer_callers_learn_what_to_do() {
    callers_learn_what_to_do(TestStore::pgbouncer().await, Lost::Question).await;
}

#[tokio::test]
async fn of_a_commit_whose_answer_is_lost_behind_pgbouncer_callers_learn_what_to_do() {
    callers_learn_what_to_do(TestStore::pgbouncer().await, Lost::Answer).await;
}
