//! A served fleet: the real binary over scripted nodes, and what a client and an operator see of it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use testbed::TestClient;

use crate::harness::{PASSWORD, Server};

/// How long a condition may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A running server with one scripted model at least, and its administrator.
pub(crate) struct Service {
    pub(crate) server: Server,
    pub(crate) client: TestClient,
    pub(crate) admin: TestClient,
}

impl Service {
    /// Starts the server, signs in, and waits until `test-model` can be used.
    pub(crate) async fn start(up: Command) -> anyhow::Result<Self> {
        let server = Server::start(up);
        let client = TestClient::new(server.address());
        let admin = sign_in(&client).await?;
        let service = Self {
            server,
            client,
            admin,
        };
        service
            .until("test-model is listed", async || {
                let list = service.admin.get("/v1/models").await?;
                Ok(list.text().contains("test-model"))
            })
            .await?;
        Ok(service)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Asks again until `condition` holds. Asking is the only way in which a client can wait.
    pub(crate) async fn until(
        &self,
        what: &str,
        condition: impl AsyncFn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        until(what, condition).await
    }

    /// Waits until the health of a component is, or is not, `ok`, and returns the component.
    pub(crate) async fn until_health(&self, component: &str, ok: bool) -> anyhow::Result<Value> {
        let seen = std::sync::Mutex::new(Value::Null);
        let what = format!(
            "{component} is {}",
            if ok { "ok" } else { "not ok any more" }
        );
        self.until(&what, async || {
            let health = self.client.get("/health").await?.json()?;
            let found = health["components"][component].clone();
            let fits = (found["status"] == "ok") == ok;
            *seen.lock().unwrap() = found;
            Ok(fits)
        })
        .await?;
        Ok(seen.into_inner()?)
    }

    /// Asks `test-model` one question and returns the request's id, or what went wrong.
    pub(crate) async fn ask(&self, question: &str) -> anyhow::Result<String> {
        ask(&self.client, question).await
    }

    /// Returns the value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let text = self.admin.get("/metrics").await?.text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .with_context(|| format!("{name} is missing: {text}"))?;
        Ok(line.parse()?)
    }

    /// Returns the ids of all request records.
    pub(crate) async fn recorded(&self) -> anyhow::Result<Vec<String>> {
        let mut ids = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/inference/requests?limit=500{cursor}");
            let reply = self.admin.get(&path).await?;
            let page = reply.json()?;
            let items = page["items"].as_array().with_context(|| reply.text())?;
            ids.extend(
                items
                    .iter()
                    .filter_map(|item| Some(item["id"].as_str()?.to_owned())),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(ids),
            }
        }
    }
}

/// Signs the administrator in.
pub(crate) async fn sign_in(client: &TestClient) -> anyhow::Result<TestClient> {
    let body = json!({"username": "admin", "password": PASSWORD});
    let reply = client.post("/api/v1/login", &body).await?;
    let token = reply.json()?["token"]
        .as_str()
        .with_context(|| reply.text())?
        .to_owned();
    client.with_key(&token)
}

/// Asks `test-model` one question and returns the request's id, or what went wrong.
pub(crate) async fn ask(client: &TestClient, question: &str) -> anyhow::Result<String> {
    let reply = client.post("/api/chat", &chat(question, false)).await?;
    anyhow::ensure!(
        reply.status == 200,
        "{question}: {} {}",
        reply.status,
        reply.text()
    );
    let text = testbed::Answer::to(question, None).text();
    anyhow::ensure!(
        reply.json()?["message"]["content"] == text.as_str(),
        "{question}: {}",
        reply.text()
    );
    let id = reply.headers.get("x-request-id").context("no request id")?;
    Ok(id.to_str()?.to_owned())
}

/// Returns a chat with `test-model` in Ollama's dialect.
pub(crate) fn chat(question: &str, stream: bool) -> Value {
    json!({
        "model": "test-model",
        "messages": [{"role": "user", "content": question}],
        "stream": stream
    })
}

/// Asks again until `condition` holds.
pub(crate) async fn until(
    what: &str,
    condition: impl AsyncFn() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await? {
        anyhow::ensure!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
