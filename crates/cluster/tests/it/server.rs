//! A small server with scripted answers. Dropping it closes its port and all its connections.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// What a path answers.
#[derive(Clone)]
pub(crate) enum Reply {
    Json(Value),
    Text(&'static str),
    Status(u16, Value),
    Hang,
}

/// One request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

#[derive(Default)]
struct Script {
    replies: HashMap<String, Reply>,
    other: Option<Reply>,
    key: Option<String>,
    /// Sent with every answer.
    instance: Option<String>,
    seen: Vec<Seen>,
}

pub(crate) struct Server {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// Starts at a known address, as a server that comes back does.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        let accepting = tokio::spawn(async move {
            // Owned by this task, so that aborting it cuts every connection.
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let script = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&script), request));
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await
                });
            }
        });
        Self {
            address,
            script,
            accepting,
        }
    }

    /// Stops the server and waits until its port is closed.
    pub(crate) async fn stop(mut self) {
        self.accepting.abort();
        let ended = (&mut self.accepting).await;
        assert!(ended.unwrap_err().is_cancelled());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, path: &str, reply: Reply) -> &Self {
        self.script
            .lock()
            .unwrap()
            .replies
            .insert(path.to_owned(), reply);
        self
    }

    pub(crate) fn set_json(&self, path: &str, value: Value) -> &Self {
        self.set(path, Reply::Json(value))
    }

    /// Answers a path as servers do that take no `GET` there.
    pub(crate) fn take_only_posts(&self, path: &str) -> &Self {
        self.set(
            path,
            Reply::Status(405, json!({"detail": "Method Not Allowed"})),
        )
    }

    /// Answers every path that is not scripted.
    pub(crate) fn set_other(&self, reply: Reply) -> &Self {
        self.script.lock().unwrap().other = Some(reply);
        self
    }

    /// Refuses every request that does not present this key.
    pub(crate) fn require_key(&self, key: &str) -> &Self {
        self.script.lock().unwrap().key = Some(format!("Bearer {key}"));
        self
    }

    /// Names an installation of Remuda in every answer.
    pub(crate) fn be_instance(&self, id: &str) -> &Self {
        self.script.lock().unwrap().instance = Some(id.to_owned());
        self
    }

    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let script = self.script.lock().unwrap();
        script
            .seen
            .iter()
            .filter(|seen| seen.path == path)
            .cloned()
            .collect()
    }

    /// An Ollama server with these models; the first is loaded with a context of 8192.
    pub(crate) async fn ollama(models: &[&str]) -> Self {
        let server = Self::start().await;
        server.speak_ollama(models);
        server
    }

    pub(crate) fn speak_ollama(&self, models: &[&str]) {
        let tags: Vec<Value> = models
            .iter()
            .map(|name| {
                json!({"name": name, "model": name, "modified_at": "2026-01-02T03:04:05.123456789+01:00",
                    "size": 2_000_000_000_u64, "digest": format!("digest-of-{name}"),
                    "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": null,
                        "parameter_size": "3.2B", "quantization_level": "Q4_K_M"}})
            })
            .collect();
        let running: Vec<Value> = models
            .iter()
            .take(1)
            .map(|name| {
                json!({"name": name, "model": name, "size": 3_000_000_000_u64, "size_vram": 2_500_000_000_u64,
                    "digest": format!("digest-of-{name}"), "details": {},
                    "expires_at": "2318-01-01T00:00:00Z", "context_length": 8192})
            })
            .collect();
        self.set("/", Reply::Text("Ollama is running"))
            .set_json("/api/version", json!({"version": "0.33.0"}))
            .set_json("/api/tags", json!({"models": tags}))
            .set_json("/api/ps", json!({"models": running}))
            .set_json(
                "/api/show",
                json!({"license": "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nand so on", "model_info": {"general.architecture": "llama", "llama.context_length": 131_072,
                    "llama.embedding_length": 3072}, "capabilities": ["completion", "tools"]}),
            )
            .set_json("/api/generate", json!({"response": "1", "done": true}))
            .set_json("/v1/models", openai_list("library", models));
    }

    pub(crate) async fn vllm(model: &str) -> Self {
        let server = Self::start().await;
        let mut list = openai_list("vllm", &[model]);
        list["data"][0]["max_model_len"] = json!(32_768);
        server
            .set_json("/v1/models", list)
            .set_json("/version", json!({"version": "0.19.1"}))
            .set_json("/v1/chat/completions", json!({"choices": []}));
        server
    }

    pub(crate) async fn llama_server(model: &str) -> Self {
        let server = Self::start().await;
        let mut list = openai_list("llamacpp", &[model]);
        list["data"][0]["meta"] =
            json!({"n_ctx_train": 131_072, "n_embd": 2048, "size": 770_000_000_u64});
        list["models"] = json!([{"name": model, "capabilities": ["completion"]}]);
        server.set_json("/v1/models", list).set_json(
            "/props",
            json!({"default_generation_settings": {"n_ctx": 4096}, "total_slots": 4, "build_info": "b9123-abcdef"}),
        );
        server
    }
}

pub(crate) fn openai_list(owner: &str, models: &[&str]) -> Value {
    let data: Vec<Value> = models
        .iter()
        .map(|id| json!({"id": id, "object": "model", "created": 1, "owned_by": owner}))
        .collect();
    json!({"object": "list", "data": data})
}

async fn answer(
    script: Arc<Mutex<Script>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().map(|query| format!("{path}?{query}"));
    let authorization = request
        .headers()
        .get(http::header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    let body = request
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let body = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok())
        .unwrap_or_default();
    let (reply, instance) = {
        let mut script = script.lock().unwrap();
        let refused = script.key.is_some() && script.key != authorization;
        let replies = &script.replies;
        let reply = query.as_ref().and_then(|asked| replies.get(asked));
        let reply = reply.or_else(|| replies.get(&path));
        let reply = reply.or(script.other.as_ref()).cloned();
        script.seen.push(Seen {
            path: query.unwrap_or(path),
            authorization,
            body,
        });
        let reply = if refused {
            Reply::Status(401, json!({"error": "unauthorized"}))
        } else {
            reply.unwrap_or_else(|| Reply::Status(404, json!({"error": "not found"})))
        };
        (reply, script.instance.clone())
    };
    let mut response = match reply {
        Reply::Json(value) => respond(200, value.to_string()),
        Reply::Text(text) => respond(200, text.to_owned()),
        Reply::Status(status, value) => respond(status, value.to_string()),
        Reply::Hang => std::future::pending().await,
    };
    if let Some(instance) = instance {
        response
            .headers_mut()
            .insert(web::INSTANCE_HEADER, instance.parse().unwrap());
    }
    Ok(response)
}

fn respond(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}
