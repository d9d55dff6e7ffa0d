//! Moving the inventory in and out, and finding what is wrong with it.

use std::sync::Arc;
use std::time::Duration;

use inventory::{InventoryConfig, Operation};
use primitives::{ManualClock, Timestamp};
use serde_json::{Value, json};
use store::testing::TestStore;

use crate::app::{Answer, Process};
use crate::reading::{chain, found, get};

store::on_every_engine! {
    imports_answer_each_line_and_can_be_sent_again,
    imports_have_bounds,
    imports_do_not_stand_in_their_own_way,
    an_import_waits_where_too_many_calls_wait,
    an_import_that_waits_for_too_long_tells_when_to_send_it_again,
    an_import_of_a_stopped_process_tells_when_to_send_it_again,
    exports_say_what_imports_take,
    every_text_survives_being_moved,
    the_check_finds_what_the_database_would_not_let_in,
    the_check_lists_every_fault_and_their_widgets_can_be_removed,
}

pub(crate) async fn import(process: &Process, query: &str, text: &str) -> Answer {
    process
        .send(&format!("/api/v1/inventory/import?{query}"), text)
        .await
}

async fn imports_answer_each_line_and_can_be_sent_again(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    process.add("taken", "P").await;
    let lines = "serial_number,name,ports\na,one,PPR\n\"b,1\",\"say \"\"x\"\"\",\ntaken,a part,P\ntaken2,n,X\na,other,P\n,n,P\nc,n\n";
    let answer = import(&process, "format=csv&first_line=101", lines).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = &answer.body;
    assert_eq!(
        (&body["made"], &body["present"], &body["refused"]),
        (&json!(2), &json!(1), &json!(4))
    );
    let refused: Vec<_> = body["refusals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["line"].as_u64().unwrap())
        .collect();
    assert_eq!(refused, [105, 106, 107, 108]);
    let again = import(&process, "format=csv", lines).await;
    assert_eq!(
        (&again.body["made"], &again.body["present"]),
        (&json!(0), &json!(3))
    );
    let other = import(&process, "format=csv", "a,another name,PPR\n").await;
    assert_eq!(other.body["refused"], 1, "{}", other.body);
    // Lines of both kinds.
    let lines = "{\"serial_number\": \"d\", \"name\": \"n\", \"ports\": \"PP\"}\n{\"first\": \"a\", \"second\": \"d\", \"port\": \"P\"}\n{\"first\": \"d\", \"second\": \"taken\", \"port\": \"P\"}\n";
    let answer = import(&process, "format=jsonl", lines).await;
    assert_eq!(answer.body["made"], 3, "{}", answer.body);
    let again = import(&process, "format=jsonl", lines).await;
    assert_eq!(again.body["present"], 3, "{}", again.body);
    assert_eq!(process.table().await["d"], ["P-a", "P-taken"]);
    let many: Vec<String> = (0..1_203).map(|number| format!("m{number},n,PQ")).collect();
    let many = many.join("\n");
    assert_eq!(
        import(&process, "format=csv", &many).await.body["made"],
        1_203
    );
    for (query, text, status) in [
        ("format=xml", "a", 400),
        ("format=csv", &*"x,n,P\n".repeat(50_002), 200),
    ] {
        let answer = import(&process, query, text).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
    }
    process.stop().await;
}

async fn exports_say_what_imports_take(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    chain(&process, 3).await;
    process.add("odd, \"one\"", "").await;
    let text = |answer: Answer| answer.body.as_str().unwrap().to_owned();
    let widgets = text(get(&process, "/api/v1/inventory/export?format=csv").await);
    let joined = text(
        get(
            &process,
            "/api/v1/inventory/export?format=csv&what=associations",
        )
        .await,
    );
    assert_eq!(
        widgets,
        "serial_number,name,ports\nw0,a part,PQR\nw1,a part,PQR\nw2,a part,PQR\nalone,a part,PP\n\"odd, \"\"one\"\"\",a part,\n"
    );
    assert_eq!(joined, "first,second,port\nw0,w1,Q\nw1,w2,P\n");
    let before = process.table().await;
    for serial in before.keys() {
        process.remove(serial).await;
    }
    let lines = import(&process, "format=csv", &widgets).await;
    assert_eq!(lines.body["made"], 5, "{}", lines.body);
    let lines = import(&process, "format=csv&what=associations", &joined).await;
    assert_eq!(lines.body["made"], 2, "{}", lines.body);
    assert_eq!(process.table().await, before);
    process.stop().await;
}

async fn the_check_finds_what_the_database_would_not_let_in(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    chain(&process, 4).await;
    let sound = found(&process, "/api/v1/inventory/check").await;
    assert_eq!(sound, json!({"checked": 5, "faults": []}));
    let mut tx = process.db.write().await.unwrap();
    let out = store::Statement::per_engine(
        "DROP TRIGGER widgets_slot1",
        "ALTER TABLE widgets DISABLE TRIGGER USER",
    );
    tx.execute(out, ()).await.unwrap();
    tx.execute(
        "UPDATE widgets SET slot1 = NULL WHERE serial_number = 'w1'",
        (),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let broken = found(&process, "/api/v1/inventory/check").await;
    assert_eq!(broken["faults"][0]["serial_number"], "w2", "{broken}");
    assert_eq!(broken["faults"].as_array().unwrap().len(), 1, "{broken}");
    process.stop().await;
}

/// Returns lines of widgets w0, w1, …
fn widgets(count: usize, ports: &str) -> String {
    let lines: Vec<String> = (0..count).map(|n| format!("w{n},n,{ports}")).collect();
    lines.join("\n")
}

async fn imports_have_bounds(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    let most = import(&process, "format=csv", &widgets(50_000, "P")).await;
    assert_eq!(most.body["made"], 50_000, "{}", most.body);
    let more = import(&process, "format=csv", &widgets(50_001, "P")).await;
    assert_eq!(more.status, 400, "{}", more.body);
    let told = more.body["detail"].as_str().unwrap();
    assert!(told.contains("send the rest in another one"), "{told}");
    let large = " ".repeat((16 << 20) + 1);
    let answer = import(&process, "format=csv", &large).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    process.stop().await;
}

/// Makes widgets w0, w1, … with a free slot each, and returns lines that join them by twos.
async fn pairs(process: &Process, count: usize) -> Vec<String> {
    let made = import(process, "format=csv", &widgets(2 * count, "P")).await;
    assert_eq!(made.body["made"], 2 * count, "{}", made.body);
    (0..count)
        .map(|n| format!("w{},w{},P", 2 * n, 2 * n + 1))
        .collect()
}

const ASSOCIATIONS: &str = "format=csv&what=associations";
/// Counts associations that found no place.
const OVERLOADED: &str =
    r#"remuda_inventory_calls_total{operation="associate_widgets",outcome="overloaded"}"#;

async fn imports_do_not_stand_in_their_own_way(store: TestStore) {
    let narrow = InventoryConfig {
        max_batch: 8,
        max_waiting: 8,
        ..InventoryConfig::default()
    };
    let process = Process::start(&store, narrow).await;
    let lines = pairs(&process, 900).await;
    let parts: Vec<String> = lines.chunks(300).map(|part| part.join("\n")).collect();
    let sent = parts
        .iter()
        .map(|part| import(&process, ASSOCIATIONS, part));
    for answer in futures_util::future::join_all(sent).await {
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["made"], 300, "{}", answer.body);
    }
    assert_eq!(process.metric(OVERLOADED), None);
    process.stop().await;
}

async fn an_import_waits_where_too_many_calls_wait(store: TestStore) {
    let narrow = InventoryConfig {
        max_waiting: 1,
        ..InventoryConfig::default()
    };
    let process = Process::idle(&store, narrow).await;
    let lines = pairs(&process, 3).await.join("\n");
    let first = process.remove("somebody else's call");
    let imported = import(&process, ASSOCIATIONS, &lines);
    let refused = async {
        while process.metric(OVERLOADED).is_none() {
            tokio::task::yield_now().await;
        }
    };
    let mut both = std::pin::pin!(async { tokio::join!(first, imported) });
    tokio::select! {
        (_, answer) = &mut both => panic!("nobody works: {}", answer.body),
        () = refused => {}
    }
    let working = tokio::spawn(process.inventory.clone().work(process.stopping()));
    let (first, imported) = both.await;
    assert_eq!(first.status, 204);
    assert_eq!((imported.status, &imported.body["made"]), (200, &json!(3)));
    process.stop_working();
    working.await.unwrap();
}

async fn an_import_that_waits_for_too_long_tells_when_to_send_it_again(store: TestStore) {
    let narrow = InventoryConfig {
        max_waiting: 1,
        ..InventoryConfig::default()
    };
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1)));
    let mut process = Process::idle_by(&store, narrow, clock.clone()).await;
    let lines = pairs(&process, 3).await.join("\n");
    let inventory = process.inventory.clone();
    let first = Operation::Remove("somebody else's call".into());
    let first = tokio::spawn(async move { inventory.call(first).await });
    while process.metric("remuda_inventory_waiting") != Some(1.0) {
        tokio::task::yield_now().await;
    }
    let passing = async {
        while process.metric(OVERLOADED).is_none() {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(11));
    };
    let (answer, ()) = tokio::join!(import(&process, ASSOCIATIONS, &lines), passing);
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.headers["retry-after"], "1");
    let told = answer.body["detail"].as_str().unwrap();
    assert!(told.contains("send the part again"), "{told}");
    // Nothing of it is under way any more, and it can be sent again.
    process.work();
    first.await.unwrap().unwrap();
    assert_eq!(process.table().await["w0"], ["P-"]);
    let again = import(&process, ASSOCIATIONS, &lines).await;
    assert_eq!(again.body["made"], 3, "{}", again.body);
    process.stop().await;
}

async fn an_import_of_a_stopped_process_tells_when_to_send_it_again(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    let lines = pairs(&process, 3).await.join("\n");
    process.stop_working();
    let answer = loop {
        // What was let in before is still carried out.
        let answer = import(&process, ASSOCIATIONS, &lines).await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.headers["retry-after"], "1");
    let told = answer.body["detail"].as_str().unwrap();
    assert!(told.contains("send the part again"), "{told}");
    process.stop().await;
}

async fn every_text_survives_being_moved(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    let odd = [
        "first",
        "two\nlines",
        "\r\n",
        "\n",
        "a\r",
        "\"",
        "\"\n\",\n",
        "serial_number,name,ports",
        "\u{feff}mark",
        " ",
        "{\"first\":1}",
        ",,",
        "x\u{2028}y\u{85}z",
    ];
    for (number, serial) in odd.iter().enumerate() {
        let arguments = json!({"widget_sn": serial, "widget_name": odd[odd.len() - 1 - number], "slots": ["P", "Q"]});
        assert_eq!(process.rpc("add_widget", arguments).await.status, 204);
    }
    for number in 1..odd.len() {
        let port = if number % 2 == 0 { "P" } else { "Q" };
        let (one, other) = (odd[number - 1], odd[number]);
        let joined = process.pair("associate_widgets", one, other, port).await;
        assert_eq!(joined.status, 204, "{}", joined.body);
    }
    let list = "/api/v1/inventory/widgets?limit=100";
    let before = found(&process, list).await;
    for format in ["csv", "jsonl"] {
        let mut files = Vec::new();
        for what in ["widgets", "associations"] {
            let query = format!("format={format}&what={what}");
            let path = format!("/api/v1/inventory/export?{query}");
            let text = get(&process, &path).await.body;
            files.push((query, text.as_str().unwrap().to_owned()));
        }
        for serial in odd {
            assert_eq!(process.remove(serial).await.status, 204);
        }
        for (query, text) in files {
            let answer = import(&process, &query, &text).await;
            assert_eq!(answer.body["refused"], 0, "{format}: {}", answer.body);
        }
        assert_eq!(found(&process, list).await, before, "{format}");
    }
    // A refusal names the line where the record begins.
    let lines = "\"a\nb\",\"c\nd\",P\n\"e\nf\",n,X\n\"g,n,P\nh,n,P\n";
    let answer = import(&process, "format=csv", lines).await;
    assert_eq!(answer.body["made"], 2, "{}", answer.body);
    let refused: Vec<_> = answer.body["refusals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["line"].as_u64().unwrap())
        .collect();
    assert_eq!(refused, [4, 6], "{}", answer.body);
    process.stop().await;
}

async fn the_check_lists_every_fault_and_their_widgets_can_be_removed(store: TestStore) {
    let process = Process::start(&store, InventoryConfig::default()).await;
    import(&process, "format=csv", &widgets(130, "PQ")).await;
    assert_eq!(process.add("sound", "P").await.status, 204);
    // Slots that name a widget which there is not.
    let (out, back): (&[&str], &[&str]) = match process.db.engine() {
        store::Engine::Sqlite => (
            &["DROP TRIGGER widgets_slot1", "DROP TRIGGER widgets_slot2"],
            &[],
        ),
        store::Engine::Postgres => (
            &["ALTER TABLE widgets DISABLE TRIGGER USER"],
            &["ALTER TABLE widgets ENABLE TRIGGER USER"],
        ),
    };
    let dangling =
        "UPDATE widgets SET slot1 = 900001, slot2 = 900002 WHERE serial_number LIKE 'w%'";
    let mut tx = process.db.write().await.unwrap();
    for sql in out.iter().chain([&dangling]).chain(back) {
        tx.execute(*sql, ()).await.unwrap();
    }
    tx.commit().await.unwrap();
    let (mut checked, mut faults, mut after) = (0, Vec::new(), 0);
    loop {
        let path = format!("/api/v1/inventory/check?after={after}");
        let part = found(&process, &path).await;
        checked += part["checked"].as_u64().unwrap();
        faults.extend(part["faults"].as_array().unwrap().clone());
        match part["next"].as_i64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!((checked, faults.len()), (131, 260));
    faults.dedup();
    assert_eq!(faults.len(), 260);
    for number in 0..130 {
        assert_eq!(process.remove(&format!("w{number}")).await.status, 204);
    }
    let sound: Value = found(&process, "/api/v1/inventory/check").await;
    assert_eq!(sound, json!({"checked": 1, "faults": []}));
    process.stop().await;
}
