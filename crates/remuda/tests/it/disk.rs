//! A disk without room, and a database file that is damaged.

use std::fs;
use std::process::Command;

use serde_json::json;
use testbed::{Flavour, ScriptedUpstream};

use crate::harness::{Home, one_line_refusal, succeed};
use crate::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn without_room_on_the_disk_inference_goes_on_and_health_says_what_to_do()
-> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let service = Service::start(surviving_full_disks(&home.up_over(&[&upstream], ""))).await?;
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
    let dropped = service
        .metric("remuda_request_records_dropped_total")
        .await?;
    assert_eq!(dropped, 0);
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

/// The same command, ended by no signal when a file cannot grow: a full disk sends none either.
fn surviving_full_disks(up: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(up.get_program())
        .args(up.get_args())
        .env_clear();
    for (name, value) in up.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell
}

/// Lets files of a process grow to so many bytes and no further: what a full disk does, without filling one.
fn limit_files(pid: u32, bytes: &str) {
    succeed(Command::new("prlimit").args([
        "--pid",
        &pid.to_string(),
        &format!("--fsize={bytes}:"),
    ]));
}
