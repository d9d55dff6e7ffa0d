//! A disk without room, and a database file that is damaged.

use std::fs;
use std::process::Command;

use serde_json::json;
use testbed::{Flavour, ScriptedUpstream};

use crate::harness::{Home, after_shell, one_line_refusal, succeed};
use crate::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn without_room_on_the_disk_inference_goes_on_and_health_says_what_to_do()
-> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    // A file that may not grow brings a signal; a full disk sends none.
    let up = after_shell("trap '' XFSZ", &home.up_over(&[&upstream], ""));
    let service = Service::start(up).await?;
    let mut asked = 0;
    let mut ask = async |questions: usize| -> anyhow::Result<()> {
        for _ in 0..questions {
            service.ask(&format!("question {asked}")).await?;
            asked += 1;
        }
        Ok(())
    };
    ask(10).await?;
    let pid = service.server.pid();
    limit_files(pid, "4096");
    let database = service.until_health("database", false).await?;
    let detail = database["detail"].as_str().unwrap();
    assert!(detail.contains("can be read but not written"), "{detail}");
    assert!(detail.contains("the disk of the database"), "{detail}");
    assert!(detail.contains("inference goes on"), "{detail}");
    let whole = service.client.get("/health").await?;
    assert_eq!(whole.status, 200, "{}", whole.text());
    ask(50).await?;
    let refused = service
        .admin
        .post("/api/v1/keys", &json!({"name": "laptop"}))
        .await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let detail = refused.json()?["detail"].to_string();
    assert!(detail.contains("the disk of the database"), "{detail}");

    limit_files(pid, "unlimited");
    service.until_health("database", true).await?;
    ask(10).await?;
    service
        .until("every record is in the list", async || {
            Ok(service.recorded().await?.len() == 70)
        })
        .await?;
    let dropped = "remuda_request_records_dropped_total";
    assert_eq!(service.metric(dropped).await?, 0);
    assert_eq!(service.server.stop("TERM"), Some(0));
    Ok(())
}

#[test]
fn a_damaged_database_is_one_line_and_nothing_is_overwritten() {
    let home = Home::new();
    assert_eq!(home.start().stop("TERM"), Some(0));
    let file = home.path("data/remuda.db");
    let whole = fs::read(&file).unwrap();
    let cut_short = whole[..whole.len() / 2].to_vec();
    let mut scrawled = whole.clone();
    scrawled[100..4096].fill(0xa5);
    for damaged in [cut_short, scrawled] {
        fs::write(&file, &damaged).unwrap();
        let line = one_line_refusal(&mut home.up(), 2);
        assert!(line.contains("cannot use the database SQLite"), "{line}");
        assert!(line.contains("restore a backup"), "{line}");
        assert!(fs::read(&file).unwrap() == damaged, "{line}");
    }
    // With the backup in place everything is as before.
    fs::write(&file, &whole).unwrap();
    assert_eq!(home.start().stop("TERM"), Some(0));
}

/// Lets files of a process grow to so many bytes and no further: what a full disk does, without filling one.
fn limit_files(pid: u32, bytes: &str) {
    succeed(Command::new("prlimit").args([
        "--pid",
        &pid.to_string(),
        &format!("--fsize={bytes}:"),
    ]));
}
