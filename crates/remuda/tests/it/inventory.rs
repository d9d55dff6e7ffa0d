//! The inventory of the real binary: what was answered survives a kill, and the command line reaches all of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use testbed::{Reply, TestClient};

use crate::harness::{Home, PASSWORD, Server, json as run_json, succeed};
use crate::service::sign_in;

pub(crate) const CONFIG: &str = "[inventory]\nopen = true\n";

pub(crate) fn server(home: &Home, config: &str) -> Server {
    let file = home.write(
        "remuda.toml",
        &format!("{config}\n[engine]\ndemo = false\n"),
    );
    let mut up = home.up();
    up.arg("--config").arg(file);
    up.env("REMUDA_ADMIN_PASSWORD", PASSWORD);
    Server::start(up)
}

/// What one client knows: for each widget of its own whether it is there, and whether two of them are joined. The last call may be
/// unanswered, and then either may be.
#[derive(Default)]
struct Known {
    there: BTreeMap<String, bool>,
    joined: BTreeMap<(String, String), bool>,
    unsure: Vec<String>,
}

/// Makes, joins, parts and removes widgets of its own until the server is gone.
async fn keep_busy(client: TestClient, number: usize, stop: Arc<AtomicBool>) -> Known {
    let mut known = Known::default();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let serial = |name: &str| format!("c{number}-{round}-{name}");
        let (a, b) = (serial("a"), serial("b"));
        let add = |serial: &str| json!({"widget_sn": serial, "widget_name": "n", "slots": ["P"]});
        let pair = json!({"widget1_sn": a, "widget2_sn": b, "port": "P"});
        let steps = [
            ("add_widget", add(&a)),
            ("add_widget", add(&b)),
            ("associate_widgets", pair.clone()),
            ("remove_association", pair.clone()),
            ("associate_widgets", pair),
            ("remove_widget", json!({"widget_sn": a})),
        ];
        // Some stop halfway, so that there is something of every kind.
        for (step, (function, body)) in steps.into_iter().take(3 + round % 4).enumerate() {
            let answer = client.post(&format!("/rpc/{function}"), &body).await;
            let Ok(answer) = answer else {
                known.unsure = vec![a, b];
                return known;
            };
            assert_eq!(answer.status, 204, "{function} {body}: {}", answer.text());
            let key = (a.clone(), b.clone());
            match step {
                0 => drop(known.there.insert(a.clone(), true)),
                1 => drop(known.there.insert(b.clone(), true)),
                2 | 4 => drop(known.joined.insert(key, true)),
                3 => drop(known.joined.insert(key, false)),
                _ => {
                    known.joined.insert(key, false);
                    known.there.insert(a.clone(), false);
                }
            }
        }
    }
    known
}

async fn partner(client: &TestClient, serial: &str) -> Option<Value> {
    let path = format!("/api/v1/inventory/widgets/{serial}");
    let answer = client.get(&path).await.unwrap();
    if answer.status == 404 {
        return None;
    }
    Some(answer.json().unwrap()["slots"][0]["partner"].clone())
}

async fn survives_kill_9(config: &str) {
    let home = Home::new();
    let mut clients = Vec::new();
    let first = server(&home, config);
    let stop = Arc::new(AtomicBool::new(false));
    for number in 0..8 {
        let client = TestClient::new(first.address());
        clients.push(tokio::spawn(keep_busy(client, number, Arc::clone(&stop))));
    }
    let client = TestClient::new(first.address());
    // Enough has happened when some hundred widgets are there.
    loop {
        let page = client
            .get("/api/v1/inventory/widgets?limit=500")
            .await
            .unwrap();
        if page.json().unwrap()["items"].as_array().unwrap().len() >= 300 {
            break;
        }
    }
    assert_eq!(first.stop("KILL"), None);
    stop.store(true, Ordering::Relaxed);
    let mut known = Vec::new();
    for client in clients {
        known.push(client.await.unwrap());
    }
    let second = server(&home, config);
    let client = TestClient::new(second.address());
    let mut looked_at = 0;
    for known in &known {
        for (serial, there) in &known.there {
            if !known.unsure.contains(serial) {
                assert_eq!(partner(&client, serial).await.is_some(), *there, "{serial}");
                looked_at += 1;
            }
        }
        for ((a, b), joined) in &known.joined {
            if known.unsure.contains(a) {
                continue;
            }
            let expected = if *joined { json!(a) } else { Value::Null };
            assert_eq!(partner(&client, b).await, Some(expected), "{a} {b}");
        }
    }
    assert!(looked_at > 200, "{looked_at} widgets were looked at");
    let checked = run_json(&mut home.remuda(["--server", second.url(), "inventory", "check"]));
    assert_eq!(checked["faults"], json!([]));
    assert!(checked["checked"].as_u64().unwrap() > 200, "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_kill_9_on_sqlite() {
    survives_kill_9(CONFIG).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_kill_9_on_postgres() {
    let store = store::testing::TestStore::postgres().await;
    let url = store.config().url.expose();
    survives_kill_9(&format!("{CONFIG}[store]\nurl = \"{url}\"\n")).await;
}

/// Returns an answer without what differs from one request to the next.
fn comparable(mut reply: Reply) -> (u16, Vec<(String, String)>, String) {
    assert!(reply.headers.remove("x-request-id").is_some());
    reply.headers.remove("date");
    let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    let headers = reply.headers.iter();
    let mut headers: Vec<(String, String)> = headers
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect();
    headers.sort();
    (reply.status.as_u16(), headers, reply.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_and_routes_answer_calls_alike() -> anyhow::Result<()> {
    let home = Home::new();
    let server = server(&home, CONFIG);
    let at_worker = TestClient::new(server.address());
    // A call that has a name may be answered by what is remembered of it, and that is the routes' work.
    let at_routes = at_worker.with_header("idempotency-key", "once")?;
    let huge = format!("{{\"widget_sn\": \"{}\"}}", "x".repeat(100_000));
    let bodies = [
        r#"{"widget_sn": "A", "name": "n", "slots": ["P", "Q"]}"#,
        r#"{"widget_sn": "\u0041", "widget_name": "n", "slots": null}"#,
        r#"{"widget_sn": "B", "name": "n", "slots": ["p"]}"#,
        r#"{"widget_sn": "B", "name": "n", "slots": [{"a": [1, true]}]}"#,
        r#"{"widget_sn": "B", "name": "n"}"#,
        r#"{"widget_sn": "B", "widget_sn": "B"}"#,
        "{",
        &huge,
    ];
    for body in bodies {
        let body = Bytes::from(body.to_owned());
        let mut answers = Vec::new();
        for client in [&at_worker, &at_routes] {
            let answer = client.send(Method::POST, "/rpc/add_widget", body.clone());
            answers.push(comparable(answer.await?));
            // So that the second of them finds what the first one found.
            let remove = json!({"widget_sn": "A"});
            if answers[0].0 == 204 {
                client.post("/rpc/remove_widget", &remove).await?;
            }
        }
        assert_eq!(answers[0], answers[1]);
        assert!(
            answers[0]
                .1
                .iter()
                .any(|(name, _)| name == "x-frame-options")
        );
    }
    for (name, value, status) in [
        ("authorization", "Bearer rmd_wrong", 401),
        ("content-type", "text/plain", 415),
    ] {
        let mut answers = Vec::new();
        for client in [&at_worker, &at_routes] {
            let client = client.with_header(name, value)?;
            let body = json!({"widget_sn": "A"});
            answers.push(comparable(client.post("/rpc/remove_widget", &body).await?));
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0].0, status);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_makes_joins_finds_and_moves_widgets() -> anyhow::Result<()> {
    let home = Home::new();
    let server = server(&home, CONFIG);
    let remuda = |arguments: &[&str]| {
        let mut command = home.remuda(["--server", server.url(), "inventory"]);
        command.args(arguments);
        command
    };
    for (serial, ports) in [
        ("NIC/1", "PPR"),
        ("BOX 7", "PR"),
        ("HDD", "P"),
        ("SPARE", "Q"),
    ] {
        succeed(&mut remuda(&["add", serial, "a part", "--ports", ports]));
    }
    succeed(&mut remuda(&["associate", "NIC/1", "BOX 7", "R"]));
    succeed(&mut remuda(&["associate", "NIC/1", "HDD", "P"]));
    let shown = succeed(&mut remuda(&["show", "NIC/1", "--component", "10"]));
    assert!(
        shown.contains("joined with HDD") && shown.contains("3 hang together"),
        "{shown}"
    );
    let way = run_json(&mut remuda(&["path", "HDD", "BOX 7"]));
    assert_eq!(
        way["steps"][1],
        json!({"from": "NIC/1", "to": "BOX 7", "port": "R"})
    );
    let free = run_json(&mut remuda(&["list", "--free", "P"]));
    let serials: Vec<_> = free["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["serial_number"])
        .collect();
    assert_eq!(serials, ["BOX 7", "NIC/1"]);
    let refused = remuda(&["associate", "SPARE", "HDD", "P"]).output()?;
    assert!(!refused.status.success());
    let exported = succeed(&mut remuda(&["export"]));
    assert_eq!(exported.lines().count(), 6, "{exported}");
    let counts = run_json(&mut remuda(&["stats"]));
    assert_eq!(
        (&counts["widgets"], &counts["ports"]["P"]["free"]),
        (&json!(4), &json!(2))
    );

    // Into another inventory.
    let file = home.write("moved.jsonl", &exported);
    let other_home = Home::new();
    let other = self::server(&other_home, CONFIG);
    let file = file.display().to_string();
    let import = |home: &Home| {
        let mut command = home.remuda(["--server", other.url(), "inventory", "import"]);
        command.arg(&file);
        command
    };
    assert_eq!(run_json(&mut import(&other_home))["made"], 6);
    let again = run_json(&mut import(&other_home));
    assert_eq!((&again["made"], &again["present"]), (&json!(0), &json!(6)));
    let moved = succeed(
        other_home
            .remuda(["--server", other.url(), "inventory", "export"])
            .args(["--only", "associations"]),
    );
    assert_eq!(moved.lines().count(), 2, "{moved}");

    // What a node is made of.
    let admin = sign_in(&TestClient::new(server.address())).await?;
    let node = json!({"name": "gpu1", "url": "http://127.0.0.1:9", "kind": "ollama"});
    let id = admin.post("/api/v1/nodes", &node).await?.json()?["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let parts = run_json(&mut remuda(&["hardware", &id, "--set", "NIC/1", "HDD"]));
    assert_eq!(parts["parts"].as_array().unwrap().len(), 2);
    succeed(&mut remuda(&["remove", "HDD"]));
    let parts = run_json(&mut remuda(&["hardware", &id]));
    assert_eq!(parts["missing"], json!(["HDD"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_reports_what_it_saw_and_draws_it() {
    let home = Home::new();
    let server = server(&home, CONFIG);
    let picture = home.path("load.svg");
    let report = home.path("load.json");
    let mut load = home.remuda(["--server", server.url(), "inventory", "load"]);
    load.args([
        "--prepare",
        "--population",
        "200",
        "--connections",
        "8",
        "--duration",
        "2s",
    ]);
    load.arg("--plot")
        .arg(&picture)
        .arg("--report")
        .arg(&report);
    let seen = run_json(&mut load);
    assert!(seen["done"].as_u64().unwrap() > 10, "{seen}");
    assert_eq!(seen["failed"], 0, "{seen}");
    let written: Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!(written["done"], seen["done"]);
    assert!(
        std::fs::read_to_string(picture)
            .unwrap()
            .contains("calls a second")
    );
    let checked = run_json(&mut home.remuda(["--server", server.url(), "inventory", "check"]));
    assert_eq!(checked["faults"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_turned_away_at_the_door_and_nothing_answered_is_lost() -> anyhow::Result<()> {
    let home = Home::new();
    let narrow = "[inventory]\nopen = true\nmax_batch = 1\nmax_waiting = 1\n";
    let server = server(&home, narrow);
    let client = TestClient::new(server.address());
    let mut callers = Vec::new();
    for caller in 0..32 {
        let client = client.clone();
        callers.push(tokio::spawn(async move {
            let mut made = Vec::new();
            let mut turned_away = 0;
            for round in 0..50 {
                let serial = format!("c{caller}-{round}");
                let body = json!({"widget_sn": serial, "widget_name": "n", "slots": []});
                let answer = client.post("/rpc/add_widget", &body).await?;
                if answer.status == 204 {
                    made.push(serial);
                    continue;
                }
                assert_eq!(answer.status, 503, "{}", answer.text());
                assert_eq!(answer.headers["retry-after"], "1");
                assert_eq!(
                    answer.headers["content-type"],
                    "application/json; charset=utf-8"
                );
                assert_eq!(answer.headers["x-frame-options"], "DENY");
                assert_eq!(answer.json()?["code"], "53400");
                // Who is let in gets an answer with an id, also when there is no place left behind the door.
                turned_away += usize::from(!answer.headers.contains_key("x-request-id"));
            }
            anyhow::Ok((made, turned_away))
        }));
    }
    let (mut made, mut turned_away) = (Vec::new(), 0);
    for caller in callers {
        let (own, away) = caller.await??;
        made.extend(own);
        turned_away += away;
    }
    assert!(turned_away > 0 && !made.is_empty(), "{turned_away}");
    // The same connections serve on.
    for serial in &made {
        let path = format!("/api/v1/inventory/widgets/{serial}");
        assert_eq!(client.get(&path).await?.status, 200, "{serial}");
    }
    let counts = client.get("/api/v1/inventory/statistics").await?.json()?;
    assert_eq!(counts["widgets"], made.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_describes_the_functions_to_who_asks_for_it() -> anyhow::Result<()> {
    let home = Home::new();
    let server = server(&home, CONFIG);
    let client = TestClient::new(server.address());
    let tool = client.with_header("accept", "application/openapi+json")?;
    let described = tool.get("/").await?;
    assert_eq!(
        described.headers["content-type"],
        "application/openapi+json"
    );
    let platform = client.get("/api/v1/openapi.json").await?.json()?;
    for description in [described.json()?, platform] {
        for function in [
            "add_widget",
            "remove_widget",
            "associate_widgets",
            "remove_association",
        ] {
            let post = &description["paths"][format!("/rpc/{function}")]["post"];
            assert_eq!(post["operationId"], function);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_some_calls_a_second_reports_in_words_and_as_json() {
    let home = Home::new();
    let server = server(&home, CONFIG);
    let report = home.path("load.json");
    let mut load = home.remuda(["--server", server.url(), "inventory", "load"]);
    load.args(["--rate", "50", "--mix", "add=100", "--connections", "4"]);
    load.args(["--duration", "2s", "--population", "0", "--report"]);
    let told = succeed(load.arg(&report));
    assert!(told.contains("calls a second over 4 connections"), "{told}");
    assert!(told.contains("of these: sent late p50"), "{told}");
    let written: Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!(written["wanted_per_second"], 50);
    // As many as there are times for a call in two seconds, all of one kind.
    assert_eq!(
        (&written["done"], &written["refused"], &written["failed"]),
        (&json!(100), &json!(0), &json!(0))
    );
    assert!(told.contains("carried out 100, refused 0"), "{told}");
    let counts = run_json(&mut home.remuda(["--server", server.url(), "inventory", "stats"]));
    assert_eq!(counts["widgets"], 100);
    assert!(!written["over_time"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_whose_widgets_cannot_be_made_says_so() {
    let home = Home::new();
    let server = server(&home, CONFIG);
    let remuda = |arguments: &[&str]| {
        let mut command = home.remuda(["--server", server.url(), "inventory"]);
        command.args(arguments);
        command
    };
    succeed(&mut remuda(&[
        "add",
        "load-00000002",
        "another",
        "--ports",
        "R",
    ]));
    let mut load = remuda(&["load", "--prepare", "--population", "5"]);
    let told = load.args(["--duration", "1s"]).output().unwrap();
    assert!(!told.status.success());
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(said.contains("1 of the 5 widgets cannot be made"), "{said}");
    assert!(said.contains("choose another --prefix"), "{said}");
    assert!(!said.contains("widgets are there"), "{said}");
}
