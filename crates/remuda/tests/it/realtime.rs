//! The WebSocket hub behind the gateway's own listener, fed by the fleet.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use testbed::{Flavour, Gate, ScriptedUpstream, System, TestClient, send_raw};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::{Home, one_line_refusal};
use crate::service::Service;

const PATIENCE: Duration = Duration::from_secs(20);
const CONFIG: &str = "[auth]\nrequired = true\n[realtime]\nmetrics_interval = \"50ms\"\n";

struct Listener(WebSocketStream<TcpStream>);

impl Listener {
    async fn open(address: SocketAddr, key: &str, topics: Value) -> Self {
        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        let bearer = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, answer) = client_async(request, stream).await.unwrap();
        assert!(answer.headers().contains_key("x-request-id"));
        let mut listener = Self(socket);
        let welcome = listener.next().await.unwrap();
        assert_eq!(welcome["type"], "welcome");
        assert_eq!(
            welcome["data"]["client_id"],
            answer.headers()["x-request-id"].to_str().unwrap(),
            "the connection has the id of its request"
        );
        let wish = json!({"type": "subscribe", "data": {"topics": topics}});
        listener
            .0
            .send(Message::text(wish.to_string()))
            .await
            .unwrap();
        let confirmed = listener.next().await.unwrap();
        assert_eq!(confirmed["type"], "subscription_confirmed", "{confirmed}");
        listener
    }

    /// Returns the next message, or the code of the close.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.unwrap() {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(frame)))) => return Err(frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    /// Waits for a message with this member of `data`.
    async fn until(&mut self, member: &str, value: &str) -> Value {
        loop {
            let message = self.next().await.unwrap();
            let found = message["data"].pointer(member);
            if found.and_then(Value::as_str) == Some(value) {
                return message;
            }
        }
    }
}

async fn admin_key(system: &System) -> (TestClient, String) {
    let admin = system.admin().await.unwrap();
    let body = json!({"name": "listener", "role": "admin"});
    let made = admin.post("/api/v1/keys", &body).await.unwrap();
    let key = made.json().unwrap()["secret"].as_str().unwrap().to_owned();
    (admin, key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_the_fleet_and_figures_arrive() {
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let system = System::builder().config(CONFIG).start().await.unwrap();
    let (admin, key) = admin_key(&system).await;
    let topics = json!(["node_status", "model_update"]);
    let mut listener = Listener::open(system.address(), &key, topics).await;
    let node = json!({"name": "late", "url": upstream.url()});
    let added = admin.post("/api/v1/nodes", &node).await.unwrap();
    assert_eq!(added.status, 201, "{}", added.text());
    let message = listener.until("/details/action", "node_added").await;
    assert_eq!(message["type"], "node_status");
    assert_eq!(message["data"]["details"]["name"], "late");
    let drained = admin
        .post("/api/v1/nodes/late/drain", &json!({}))
        .await
        .unwrap();
    assert_eq!(drained.status, 200, "{}", drained.text());
    listener.until("/status", "draining").await;

    let mut figures = Listener::open(system.address(), &key, json!(["system_metrics"])).await;
    let message = figures.next().await.unwrap();
    assert_eq!(message["type"], "system_metrics");
    assert_eq!(message["data"]["websocket_clients"], 2, "{message}");
    let client = system.client().with_key(&key).unwrap();
    let metrics = client.get("/metrics").await.unwrap().text();
    assert!(
        metrics.contains("\nremuda_realtime_connections 2\n"),
        "{metrics}"
    );
    assert_eq!(metrics.matches("# EOF").count(), 1);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_steps_of_a_job_are_told_to_its_owner() {
    let gate = Gate::closed();
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    upstream.edit_script(|script| script.gate = Some((5, gate.clone())));
    let builder = System::builder().config(CONFIG).node(&upstream);
    let system = builder.start().await.unwrap();
    system.until_models(&["test-model"]).await.unwrap();
    let (_, key) = admin_key(&system).await;
    let client = system.client().with_key(&key).unwrap();
    let wish = json!({"model": "test-model", "messages": [{"role": "user", "content": "x"}]});
    let job = client.post("/api/v1/inference/chat", &wish).await.unwrap();
    let id = job.json().unwrap()["id"].as_str().unwrap().to_owned();
    let topics = json!([format!("inference_{id}")]);
    let mut listener = Listener::open(system.address(), &key, topics).await;
    gate.open();
    let message = listener.until("/status", "completed").await;
    assert_eq!(message["data"]["inference_id"], id.as_str());
    assert_eq!(message["data"]["model"], "test-model");
    assert!(message["data"]["piece"].as_i64().unwrap() > 0, "{message}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_closes_connections_with_a_code_and_does_not_wait_for_them() {
    let system = System::builder()
        .config("[auth]\nrequired = true\n[server]\ndrain_seconds = 600\n")
        .start()
        .await
        .unwrap();
    let (_, key) = admin_key(&system).await;
    let mut listener = Listener::open(system.address(), &key, json!(["node_status"])).await;
    let _deaf = Listener::open(system.address(), &key, json!(["node_status"])).await;
    let (ended, stopped) = tokio::join!(
        async { listener.next().await },
        timeout(PATIENCE, system.stop())
    );
    assert_eq!(ended, Err(1001));
    stopped.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_shows_inferences_that_end() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let service = Service::start(home.up_over(&[&upstream], "")).await?;
    let role = json!({"name": "watcher", "role": "admin"});
    let key = service.admin.post("/api/v1/keys", &role).await?.json()?;
    let watch = |topic: &str| {
        let mut command = home.remuda(["--server", service.server.url(), "watch", "--json"]);
        command
            .arg(topic)
            .env("REMUDA_API_KEY", key["secret"].as_str().unwrap());
        command
    };
    let mut watching = tokio::process::Command::from(watch("inference"));
    let watching = watching.stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = watching.spawn()?;
    service
        .until("it listens", async || {
            let name = "remuda_realtime_messages_received_total";
            Ok(service.metric(name).await? == 1)
        })
        .await?;
    let id = service.ask("what is new?").await?;
    let output = child.stdout.take().unwrap();
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(output).read_line(&mut line)).await??;
    let line: Value = serde_json::from_str(&line)?;
    child.kill().await?;
    assert_eq!(line["type"], "inference");
    assert_eq!(line["data"]["inference_id"], id.as_str());
    assert_eq!(line["data"]["status"], "completed");
    assert_eq!(line["data"]["model"], "test-model");

    let refused = one_line_refusal(&mut watch("everything"), 1);
    assert!(refused.contains("unknown topic"), "{refused}");
    let mut stranger = home.remuda(["--server", service.server.url(), "watch"]);
    let refused = one_line_refusal(&mut stranger, 1);
    assert!(refused.contains("remuda login"), "{refused}");
    Ok(())
}

/// Whoever would rather speak HTTP/2 (h2c), as `curl --http2` would, and asks before it sends a body.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_who_asks_for_another_protocol() -> anyhow::Result<()> {
    let system = System::builder().config(CONFIG).start().await?;
    let request =
        b"POST /api/v1/keys HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\
        content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 1000\r\n\r\n";
    for _ in 0..20 {
        let answer = Box::pin(send_raw(system.address(), request)).await?;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 401 "), "{text:?}");
    }
    Ok(())
}
