//! The embedded engine as Ollama's clients meet it: how long its models stay in memory.

use std::time::Duration;

use anyhow::Context as _;
use primitives::{Clock as _, SystemClock, Timestamp};
use serde_json::{Value, json};
use testbed::TestClient;

use crate::harness::{Home, PASSWORD, Server, json, succeed};

const MODEL: &str = "remuda-demo:latest";

/// Waits until `/api/ps` fits, and returns what it shows of the model.
async fn shown(
    client: &TestClient,
    fits: impl Fn(Option<&Value>) -> bool,
) -> anyhow::Result<Option<Value>> {
    let looks = async {
        loop {
            let models = client.get("/api/ps").await?.json()?["models"].take();
            let model = models.as_array().context("no list")?.first();
            if fits(model) {
                return anyhow::Ok(model.cloned());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looks).await?
}

/// Returns in how many minutes, rounded, a model of `/api/ps` leaves memory.
fn minutes_left(model: Option<&Value>) -> Option<u64> {
    let until = Timestamp::parse_rfc3339(model?["expires_at"].as_str()?)?;
    let left = until.since(SystemClock::new().now());
    Some((left.as_secs() + 30) / 60)
}

fn generate(keep_alive: &Value) -> Value {
    json!({"model": MODEL, "prompt": "hi", "stream": false, "keep_alive": keep_alive})
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_is_kept_and_shown() -> anyhow::Result<()> {
    let home = Home::new();
    let mut up = home.up();
    up.env("REMUDA_ADMIN_PASSWORD", PASSWORD);
    let server = Server::start(up);
    let client = TestClient::new(server.address());
    for wrong in [json!("abc"), json!("5 m"), json!(true)] {
        for path in ["/api/generate", "/api/embed"] {
            let mut body = generate(&wrong);
            body["input"] = json!("hi");
            let reply = client.post(path, &body).await?;
            assert_eq!(reply.status, 400, "{path} {wrong} {}", reply.text());
            assert!(reply.text().contains("keep_alive"), "{}", reply.text());
        }
    }
    let reply = client
        .post("/api/generate", &generate(&json!("90m")))
        .await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    shown(&client, |model| minutes_left(model) == Some(90)).await?;

    // Without it, what is configured counts: five minutes.
    let mut body = generate(&Value::Null);
    body.as_object_mut()
        .context("no object")?
        .remove("keep_alive");
    assert_eq!(client.post("/api/generate", &body).await?.status, 200);
    shown(&client, |model| minutes_left(model) == Some(5)).await?;

    let reply = client.post("/api/generate", &generate(&json!(0))).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    shown(&client, |model| model.is_none()).await?;

    // Pinned by an administrator it stays, which Ollama shows as a time far away.
    succeed(
        home.remuda(["login", "--password-stdin", "--server", server.url()])
            .stdin(home.password_file()),
    );
    json(&mut home.remuda(["load", MODEL, "--pin", "--server", server.url()]));
    shown(&client, |model| minutes_left(model) > Some(60 * 24 * 3_650)).await?;
    json(&mut home.remuda(["stop", MODEL, "--server", server.url()]));
    shown(&client, |model| model.is_none()).await?;
    Ok(())
}
