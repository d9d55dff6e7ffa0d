//! The configuration read again while people are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use testbed::{Flavour, ScriptedUpstream, TestClient};

use crate::harness::{Home, send_signal};
use crate::service::{Service, ask};

const CALLERS: usize = 16;
const READINGS: usize = 20;

async fn say(client: &TestClient, model: &str) -> anyhow::Result<u16> {
    let body = json!({"model": model, "stream": false, "messages": [{"role": "user", "content": "hello"}]});
    Ok(client.post("/api/chat", &body).await?.status.as_u16())
}

async fn readings(service: &Service, outcome: &str) -> anyhow::Result<u64> {
    let name = format!("remuda_configuration_reloads_total{{outcome=\"{outcome}\"}}");
    service.metric(&name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_read_again_under_load_costs_no_answer() -> anyhow::Result<()> {
    let steady = ScriptedUpstream::start(Flavour::Ollama)?;
    let passing = ScriptedUpstream::start(Flavour::Vllm)?;
    let home = Home::new();
    let service = Service::start(home.up_over(&[&steady, &passing], "")).await?;
    let done = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (client, done) = (service.client.clone(), done.clone());
            tokio::spawn(async move {
                let mut asked = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    asked += 1;
                    ask(&client, &format!("question {asked} of {caller}")).await?;
                }
                anyhow::Ok(asked)
            })
        })
        .collect();
    for reading in 1..=READINGS {
        let policy = if reading % 2 == 0 {
            "remuda"
        } else {
            "round_robin"
        };
        let text = format!(
            "[routing]\npolicy = \"{policy}\"\n[aliases]\nassistant-{reading} = \"test-model\"\n"
        );
        let nodes: &[&ScriptedUpstream] = if reading % 2 == 0 {
            &[&steady, &passing]
        } else {
            &[&steady]
        };
        drop(home.up_over(nodes, &text));
        send_signal(service.server.pid(), "HUP");
        service
            .until("the alias is known", async || {
                Ok(say(&service.client, &format!("assistant-{reading}")).await? == 200)
            })
            .await?;
        let before = format!("assistant-{}", reading - 1);
        assert_eq!(say(&service.client, &before).await?, 404, "{before}");
        let listed = service.admin.get("/api/v1/nodes").await?.text();
        assert_eq!(
            listed.contains(passing.name()),
            nodes.len() == 2,
            "{listed}"
        );
    }
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await?? > 0);
    }
    assert_eq!(readings(&service, "applied").await?, READINGS as u64);
    assert_eq!(service.server.stop("TERM"), Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_a_mistake_changes_nothing() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let config = "[aliases]\nassistant = \"test-model\"\n";
    let service = Service::start(home.up_over(&[&upstream], config)).await?;
    for (refused, mistake) in [
        "[aliases\n",
        "[routing]\npolice = \"remuda\"\n",
        "[routing]\nmax_attempts = 0\n",
        "[[nodes]]\nname = \"n\"\nurl = \"gopher://n\"\n",
    ]
    .iter()
    .enumerate()
    {
        drop(home.up_over(&[], mistake));
        send_signal(service.server.pid(), "HUP");
        service
            .until("it was looked at", async || {
                Ok(readings(&service, "refused").await? > refused as u64)
            })
            .await?;
        assert_eq!(say(&service.client, "assistant").await?, 200, "{mistake}");
    }
    assert_eq!(readings(&service, "applied").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_limits_hold_at_once_and_what_needs_a_restart_waits_for_it() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let service = Service::start(home.up_over(&[&upstream], "")).await?;
    let config = "[limits]\naddress_requests_per_minute = 1\n[server]\nlisten = \"127.0.0.1:1\"\n";
    drop(home.up_over(&[&upstream], config));
    send_signal(service.server.pid(), "HUP");
    service
        .until("the limit holds", async || {
            Ok(say(&service.client, "test-model").await? == 429)
        })
        .await?;
    let health: Value = service.client.get("/health").await?.json()?;
    assert_eq!(health["status"], "ok", "{health}");
    Ok(())
}
