//! A batch from the command line: submitted, looked at, read.

use anyhow::Context as _;
use serde_json::{Value, json};
use testbed::{Answer, Flavour, ScriptedUpstream};

use crate::harness::{Home, json as printed, one_line_refusal, succeed};
use crate::service::{Service, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_submitted_looked_at_and_read() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let service = Service::start(home.up_over(&[&upstream], "")).await?;
    let wish = json!({"name": "batches"});
    let made = service.admin.post("/api/v1/keys", &wish).await?.json()?;
    let key = made["secret"].as_str().context("no secret")?.to_owned();
    let question = |number: u32| match number {
        2 => "[[testbed status=400]]".to_owned(),
        _ => format!("question {number}"),
    };
    let lines: Vec<String> = (0..4)
        .map(|number| {
            let body = json!({"model": "test-model", "messages": [{"role": "user", "content": question(number)}]});
            json!({"custom_id": number.to_string(), "method": "POST", "url": "/v1/chat/completions", "body": body}).to_string()
        })
        .collect();
    let file = home.write("requests.jsonl", &lines.join("\n"));
    let batches = |arguments: &[&str]| {
        let mut command = home.remuda(["batch"]);
        command
            .args(arguments)
            .args(["--server", service.server.url()])
            .env("REMUDA_API_KEY", &key);
        command
    };
    let batch = succeed(&mut batches(&["submit", &file.display().to_string()]));
    let batch = batch.trim();
    until("the batch is done", async || {
        Ok(printed(&mut batches(&["show", batch]))["status"] == "completed")
    })
    .await?;
    assert!(succeed(&mut batches(&["list"])).contains(batch));
    let read = |arguments: &[&str]| -> anyhow::Result<Vec<Value>> {
        let text = succeed(&mut batches(arguments));
        text.lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    };
    let answers = read(&["output", batch])?;
    let names: Vec<&Value> = answers.iter().map(|line| &line["custom_id"]).collect();
    assert_eq!(names, ["0", "1", "3"]);
    assert_eq!(
        answers[1]["response"]["body"]["choices"][0]["message"]["content"],
        Answer::to("question 1", None).text().as_str()
    );
    let errors = read(&["output", "--errors", batch])?;
    assert_eq!((errors.len(), &errors[0]["custom_id"]), (1, &json!("2")));
    let line = one_line_refusal(&mut batches(&["show", "batch/../files"]), 2);
    assert!(line.contains("is not the id of a batch"), "{line}");
    Ok(())
}
