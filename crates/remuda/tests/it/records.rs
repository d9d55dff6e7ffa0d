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

fn records(lines: &str) -> Vec<Value> {
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn text(record: &Value, member: &str) -> String {
    record[member].as_str().unwrap().to_owned()
}
