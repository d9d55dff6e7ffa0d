//! What the original's own integration tests walk through, from health to sign-out, on both stacks.

use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use serde_json::{Value, json};
use testbed::{Flavour, Reply, ScriptedUpstream, TestClient};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::harness::Home;
use crate::service::{Service, until};
use crate::stack::Stack;

const CONFIG: &str = "[auth]\nrequired = true\nregistration = \"open\"\n";

fn ok(reply: anyhow::Result<Reply>, status: u16) -> anyhow::Result<Value> {
    let reply = reply?;
    anyhow::ensure!(reply.status == status, "{} {}", reply.status, reply.text());
    if reply.body.is_empty() {
        return Ok(Value::Null);
    }
    reply.json()
}

async fn put(
    client: &TestClient,
    method: Method,
    path: &str,
    body: Value,
) -> anyhow::Result<Value> {
    ok(
        client.send(method, path, body.to_string().into()).await,
        200,
    )
}

/// Says hello on the socket and returns the types of the first two messages.
async fn heartbeat(service: &Service, token: &str) -> anyhow::Result<Vec<Value>> {
    let address = service.address();
    let mut request = format!("ws://{address}/ws").into_client_request()?;
    let bearer = format!("Bearer {token}").parse()?;
    request.headers_mut().insert("authorization", bearer);
    let stream = TcpStream::connect(address).await?;
    let (mut socket, _) = client_async(request, stream).await?;
    socket
        .send(Message::text("{\"type\":\"heartbeat\"}"))
        .await?;
    let mut types = Vec::new();
    while types.len() < 2 {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                let message: Value = serde_json::from_str(&text)?;
                types.push(message["type"].clone());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => anyhow::bail!("the socket was closed"),
        }
    }
    Ok(types)
}

async fn walk(service: &Service, node: &str) -> anyhow::Result<()> {
    let (client, admin) = (&service.client, &service.admin);
    let health = ok(client.get("/health").await, 200)?;
    assert_eq!(health["status"], "ok", "{health}");

    let ann = json!({"username": "ann", "password": "a password of ann's"});
    ok(client.post("/api/v1/register", &ann).await, 201)?;
    let tokens = ok(client.post("/api/v1/login", &ann).await, 200)?;
    let token = tokens["access_token"].as_str().unwrap_or_default();
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    let tokens = ok(client.post("/api/v1/token/refresh", &refresh).await, 200)?;
    let token = tokens["access_token"].as_str().unwrap_or(token);
    let ann = client.with_key(token)?;
    let profile = ok(ann.get("/api/v1/me/profile").await, 200)?;
    assert_eq!(profile["username"], "ann");
    let edit = json!({"email": "ann@example.org"});
    put(&ann, Method::PATCH, "/api/v1/me/profile", edit).await?;
    let profile = ok(ann.get("/api/v1/me/profile").await, 200)?;
    assert_eq!(profile["email"], "ann@example.org");

    // Models are what nodes have: one is made by copying, and is listed when its node was looked at again.
    let copy = json!({"source": "test-model", "destination": "walked"});
    ok(admin.post("/api/copy", &copy).await, 200)?;
    until("the model is listed", async || {
        let models = ok(admin.get("/api/v1/models?limit=10").await, 200)?;
        Ok(models.to_string().contains("\"walked"))
    })
    .await?;
    let shown = ok(admin.get("/api/v1/models/walked:latest").await, 200)?;
    assert_eq!(shown["replicas"][0]["node"], node, "{shown}");
    ok(admin.get("/api/v1/models/nowhere").await, 404)?;
    ok(
        admin.post("/api/show", &json!({"model": "walked"})).await,
        200,
    )?;
    let nodes = ok(admin.get("/api/v1/nodes").await, 200)?;
    let mut names = nodes["items"].as_array().into_iter().flatten();
    assert!(names.any(|item| item["name"] == node), "{nodes}");
    let shown = ok(admin.get(&format!("/api/v1/nodes/{node}")).await, 200)?;
    assert_eq!(shown["state"], "ready", "{shown}");

    let wish = json!({"model": "walked", "prompt": "What is a remuda?"});
    let job = ok(ann.post("/api/v1/inference/generate", &wish).await, 202)?;
    let path = job["links"]["self"].as_str().unwrap_or_default().to_owned();
    until("the answer is there", async || {
        let job = ok(ann.get(&path).await, 200)?;
        anyhow::ensure!(job["state"] != "failed", "{job}");
        Ok(job["state"] == "completed" && job["result"]["response"].is_string())
    })
    .await?;
    until("the request is listed", async || {
        let requests = ok(admin.get("/api/v1/inference/requests?limit=5").await, 200)?;
        let items = requests["items"].as_array().map_or(0, Vec::len);
        Ok(items >= 1)
    })
    .await?;

    let config = json!({"config": {"queue.batch": 4321}});
    put(admin, Method::PUT, "/api/v1/system/config", config).await?;
    let config = ok(admin.get("/api/v1/system/config").await, 200)?;
    assert!(config.to_string().contains("4321"), "{config}");
    let stats = ok(admin.get("/api/v1/system/stats").await, 200)?;
    assert!(stats["users"].as_u64() >= Some(2), "{stats}");
    let database = ok(admin.get("/api/v1/system/database").await, 200)?;
    assert!(database.is_object(), "{database}");
    let audit = ok(admin.get("/api/v1/audit").await, 200)?;
    assert!(audit["total"].as_u64() >= Some(3), "{audit}");
    let metrics = admin.get("/metrics").await?.text();
    for series in [
        "remuda_credentials ",
        "remuda_sign_ins_total{outcome=\"signed_in\"} ",
        "remuda_database_connections_open{pool=",
        "remuda_database_transactions_total{kind=\"write\",outcome=\"committed\"} ",
    ] {
        assert!(metrics.contains(series), "{series}: {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");

    assert_eq!(heartbeat(service, token).await?, ["welcome", "heartbeat"]);

    let lists = (0..5).map(|_| admin.get("/api/v1/models?limit=10"));
    for reply in futures_util::future::join_all(lists).await {
        ok(reply, 200)?;
    }
    let delete = json!({"model": "walked"}).to_string();
    let deleted = admin
        .send(Method::DELETE, "/api/delete", delete.into())
        .await;
    ok(deleted, 200)?;
    until("the model is gone", async || {
        let models = ok(admin.get("/api/v1/models?limit=10").await, 200)?;
        Ok(!models.to_string().contains("\"walked"))
    })
    .await?;
    ann.post("/api/v1/logout", &json!({})).await?;
    assert_eq!(ann.get("/api/v1/me/profile").await?.status, 401);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_originals_acceptance_list_passes_on_sqlite_alone() -> anyhow::Result<()> {
    let upstream = ScriptedUpstream::start(Flavour::Ollama)?;
    let home = Home::new();
    let service = Service::start(home.up_over(&[&upstream], CONFIG)).await?;
    walk(&service, upstream.name()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_originals_acceptance_list_passes_on_postgres_pgbouncer_and_redis() -> anyhow::Result<()>
{
    let stack = Stack::start(CONFIG).await?;
    walk(&stack.service, stack.upstream.name()).await?;
    let health = stack.service.client.get("/health").await?.json()?;
    assert_eq!(health["components"]["redis"]["status"], "ok", "{health}");
    drop(stack.home);
    Ok(())
}
