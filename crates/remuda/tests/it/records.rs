//! Request records taken away for other programs.

use std::collections::HashSet;

use serde_json::{Value, json};
use testbed::{Flavour, ScriptedUpstream};

use crate::harness::{Home, json as json_of, one_line_refusal, succeed};
use crate::service::Service;
use crate::simulations::FLEET;

#[tokio::test(flavor = "multi_thread")]
async fn export_writes_every_record_of_a_time_whatever_their_number() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let service = Service::start(home.up_over(&[&upstream], "")).await?;
    let mut asked = HashSet::new();
    // More than the server gives on one page.
    for number in 0..510 {
        asked.insert(service.ask(&format!("question {number}")).await?);
    }
    service
        .until("the records are there", async || {
            Ok(service.recorded().await?.len() == asked.len())
        })
        .await?;
    the_list_can_be_entered_anywhere(&service).await?;
    let role = json!({"name": "exporter", "role": "admin"});
    let key = service.admin.post("/api/v1/keys", &role).await?.json()?;
    let key = key["secret"].as_str().unwrap().to_owned();
    let export = |more: &[&str]| {
        let mut command = home.remuda(["--server", service.server.url(), "requests", "export"]);
        command.args(more).env("REMUDA_API_KEY", &key);
        command
    };

    let all = records(&succeed(&mut export(&[])));
    let ids: HashSet<String> = all.iter().map(|record| text(record, "id")).collect();
    assert!(ids == asked && all.len() == asked.len());
    assert!(all.iter().all(|record| record["prompt_tokens"] == 2));
    // A trace begins with the earliest.
    assert!(all.is_sorted_by_key(|record| text(record, "id")));

    // The export is a trace that can be replayed.
    let trace = home.write("trace.jsonl", &succeed(&mut export(&[])));
    let fleet = home.write("fleet.toml", FLEET);
    let mut simulate = home.remuda(["simulate", "--policy", "remuda", "--trace"]);
    simulate.arg(&trace).arg("--fleet").arg(&fleet);
    let reports = json_of(&mut simulate);
    assert_eq!(reports[0]["requests"], all.len());

    let boundary = text(&all[100], "received_at");
    let (later, earlier) = (
        succeed(&mut export(&["--since", &boundary])),
        succeed(&mut export(&["--until", &boundary])),
    );
    let (later, earlier) = (records(&later), records(&earlier));
    assert_eq!(later.len() + earlier.len(), all.len());
    assert!(
        later
            .iter()
            .all(|record| text(record, "received_at") >= boundary)
    );
    assert!(
        earlier
            .iter()
            .all(|record| text(record, "received_at") < boundary)
    );

    let line = one_line_refusal(&mut export(&["--until", "yesterday"]), 2);
    assert!(line.contains("--until") && line.contains("12h"), "{line}");
    Ok(())
}

/// Of 510 records: by offset, by node, by caller.
async fn the_list_can_be_entered_anywhere(service: &Service) -> anyhow::Result<()> {
    let list = async |query: &str| {
        let path = format!("/api/v1/inference/requests?{query}");
        service.admin.get(&path).await?.json()
    };
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|record| text(record, "id")).collect()
    };
    let newest = list("limit=500").await?;
    assert_eq!(newest["total"], 510);
    let part = list("limit=10&offset=490").await?;
    assert_eq!(ids(&part), ids(&newest)[490..]);
    let end = list("limit=10&offset=505").await?;
    assert_eq!((ids(&end).len(), &end["next_cursor"]), (5, &Value::Null));
    assert_eq!(list("offset=510").await?["items"], json!([]));
    // Those of a node by its id are looked for, and not counted.
    let node = text(&newest["items"][0], "node_id");
    let of_node = list(&format!("node={node}&limit=10&offset=490")).await?;
    assert_eq!(ids(&of_node), ids(&part));
    assert_eq!(of_node["total"], Value::Null);
    let nobody = list("caller=0198c0de-0000-7000-8000-000000000000").await?;
    assert_eq!(nobody["items"], json!([]));
    let far = service
        .admin
        .get("/api/v1/inference/requests?offset=100001");
    assert_eq!(far.await?.status, 400);
    Ok(())
}

fn records(lines: &str) -> Vec<Value> {
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn text(record: &Value, member: &str) -> String {
    record[member].as_str().unwrap().to_owned()
}
