//! Everything but inference: heartbeats, versions, model lists and Ollama's model commands.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::flavour::Flavour;
use super::models::{ScriptedModel, normalise};
use super::pull::pull;
use super::service::{Call, Node, Reply, full, json as reply, refusal, response};
use super::wire::CREATED;

/// Answers a request that is not inference.
pub(super) async fn answer(node: &Arc<Node>, call: &Call) -> Reply {
    let get = matches!(call.method, Method::GET | Method::HEAD);
    match (call.path.as_str(), node.flavour) {
        ("/v1/models", _) if get => reply(200, &openai_models(node)),
        (_, Flavour::Ollama) => ollama(node, call).await,
        ("/health" | "/ping", Flavour::Vllm) if get => response(200, "text/plain", full("")),
        ("/version", Flavour::Vllm) if get => {
            reply(200, &json!({"version": node.flavour.version()}))
        }
        ("/health" | "/v1/health", Flavour::LlamaServer) if get => {
            reply(200, &json!({"status": "ok"}))
        }
        ("/props", Flavour::LlamaServer) if get => reply(200, &props(node)),
        ("/slots", Flavour::LlamaServer) if get => reply(
            200,
            &json!([{"id": 0, "n_ctx": 4096, "is_processing": node.record.counters().in_flight > 0}]),
        ),
        ("/metrics", Flavour::Vllm) if get => {
            response(200, "text/plain; version=0.0.4", full(vllm_metrics(node)))
        }
        _ => elsewhere(node, call),
    }
}

/// Answers on a path that the server does not have, as told.
fn elsewhere(node: &Node, call: &Call) -> Reply {
    let canned = node.script.lock().unknown_path.clone();
    match canned.filter(|_| call.method == Method::POST) {
        Some(canned) => response(canned.status, canned.content_type, full(canned.body)),
        None => unknown_path(node.flavour),
    }
}

/// Returns what a server says to a path it does not have.
pub(super) fn unknown_path(flavour: Flavour) -> Reply {
    match flavour {
        Flavour::Ollama => response(404, "text/plain", full("404 page not found")),
        Flavour::Vllm | Flavour::Other => reply(404, &json!({"detail": "Not Found"})),
        Flavour::LlamaServer => reply(404, &flavour.error_body("", 404, "File Not Found")),
    }
}

fn openai_models(node: &Node) -> Value {
    let models = node.models.lock();
    let data: Vec<Value> = models
        .iter()
        .map(|model| {
            let mut entry =
                json!({"id": model.name, "object": "model", "created": CREATED, "owned_by": node.flavour.owner()});
            match node.flavour {
                Flavour::Vllm => {
                    entry["root"] = json!(model.name);
                    entry["parent"] = Value::Null;
                    entry["max_model_len"] = json!(model.context_length);
                }
                Flavour::LlamaServer => {
                    entry["meta"] = json!({
                        "vocab_type": 2, "n_vocab": 128_256, "n_ctx_train": model.context_length, "n_embd": 2048,
                        "n_params": 1_235_814_432, "size": model.size_bytes,
                    });
                }
                Flavour::Ollama | Flavour::Other => {}
            }
            entry
        })
        .collect();
    if data.is_empty() && node.flavour == Flavour::Ollama {
        return json!({"object": "list", "data": null});
    }
    json!({"object": "list", "data": data})
}

fn props(node: &Node) -> Value {
    let name = node.models.lock().first().map(|model| model.name.clone());
    json!({
        "default_generation_settings": {"n_ctx": 4096}, "total_slots": 4, "model_path": name, "model_alias": name,
        "chat_template": "{{ messages }}", "build_info": node.flavour.version(), "modalities": {"vision": false},
    })
}

fn vllm_metrics(node: &Node) -> String {
    let running = node.record.counters().in_flight;
    let (waiting, cache_used) = node.script.lock().pressure;
    format!(
        "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{engine=\"0\"}} {running}.0\n\
         vllm:num_requests_waiting{{engine=\"0\"}} {waiting}.0\nvllm:kv_cache_usage_perc{{engine=\"0\"}} {cache_used}\n"
    )
}

async fn ollama(node: &Arc<Node>, call: &Call) -> Reply {
    let get = matches!(call.method, Method::GET | Method::HEAD);
    let post = call.method == Method::POST;
    match call.path.as_str() {
        "/" if get => response(200, "text/plain; charset=utf-8", full("Ollama is running")),
        "/api/version" if get => reply(200, &json!({"version": node.flavour.version()})),
        "/api/status" if get => reply(200, &json!({"cloud": {"disabled": false, "source": ""}})),
        "/api/tags" if get => reply(200, &tags(node)),
        "/api/ps" if get => reply(200, &ps(node)),
        "/api/show" if post => with_model(node, call, |model| reply(200, &show(model))),
        "/api/pull" if post => pull(node, call).await,
        "/api/push" if post => with_model(node, call, |_| {
            progress(
                call,
                &[
                    json!({"status": "retrieving manifest"}),
                    json!({"status": "success"}),
                ],
            )
        }),
        "/api/create" if post => create(node, call),
        "/api/copy" if post => copy(node, call),
        "/api/delete" if call.method == Method::DELETE => with_model(node, call, |found| {
            node.models.lock().retain(|model| model.name != found.name);
            if let Some(files) = &node.files
                && let Err(error) = files.remove(&found.name)
            {
                return refusal(node, None, &call.path, 500, &format!("{error:#}"));
            }
            response(200, "text/plain", full(""))
        }),
        path if path.starts_with("/api/blobs/") => blob(node, call),
        path if get && path.starts_with("/v1/models/") => {
            let name = path.trim_start_matches("/v1/models/");
            let models = openai_models(node);
            let found = models["data"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|entry| entry["id"] == name);
            found.map_or_else(
                || refusal(node, None, path, 404, &node.unknown_model(name)),
                |entry| reply(200, entry),
            )
        }
        _ => elsewhere(node, call),
    }
}

fn tags(node: &Node) -> Value {
    let models = node.models.lock();
    let list: Vec<Value> = models
        .iter()
        .map(|model| {
            let mut entry = entry(model);
            entry["modified_at"] = json!("2026-01-01T00:00:00Z");
            entry["capabilities"] = json!(model.capabilities);
            entry["details"]["context_length"] = json!(model.context_length);
            entry
        })
        .collect();
    json!({"models": list})
}

fn ps(node: &Node) -> Value {
    let models = node.models.lock();
    let list: Vec<Value> = models
        .iter()
        .filter_map(|model| {
            let mut entry = entry(model);
            entry["context_length"] = json!(model.loaded?);
            entry["size_vram"] = json!(model.size_bytes);
            entry["expires_at"] = json!("2030-01-01T00:00:00Z");
            Some(entry)
        })
        .collect();
    json!({"models": list})
}

fn entry(model: &ScriptedModel) -> Value {
    json!({
        "name": model.name, "model": model.name, "size": model.size_bytes, "digest": model.digest,
        "details": ScriptedModel::details(),
    })
}

fn show(model: &ScriptedModel) -> Value {
    json!({
        "modelfile": format!("FROM {}\n", model.name), "template": "{{ .Prompt }}", "details": ScriptedModel::details(),
        "license": "Apache License, Version 2.0\nand so on",
        "model_info": {
            "general.architecture": "llama", "general.parameter_count": 1_235_814_432_u64,
            "llama.context_length": model.context_length, "llama.embedding_length": model.dimensions,
        },
        "capabilities": model.capabilities, "modified_at": "2026-01-01T00:00:00Z",
    })
}

/// Returns the model a command names; the npm client sends `name` only.
pub(super) fn named(call: &Call) -> String {
    let root = call.json();
    root["model"]
        .as_str()
        .or_else(|| root["name"].as_str())
        .unwrap_or_default()
        .to_owned()
}

fn with_model(node: &Node, call: &Call, then: impl FnOnce(&ScriptedModel) -> Reply) -> Reply {
    let name = named(call);
    match node.find_model(&name) {
        Some(model) => then(&model),
        None => refusal(
            node,
            None,
            &call.path,
            404,
            &format!("model '{name}' not found"),
        ),
    }
}

/// Answers with progress lines, or with the last of them when streaming is off.
pub(super) fn progress(call: &Call, lines: &[Value]) -> Reply {
    if call.json()["stream"] == false {
        let last = lines.last().cloned().unwrap_or_default();
        let status = if last["error"].is_null() { 200 } else { 500 };
        return reply(status, &last);
    }
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let text = lines.join(
        "
",
    ) + "
";
    response(200, "application/x-ndjson", full(text))
}

fn create(node: &Node, call: &Call) -> Reply {
    let root = call.json();
    if root["from"].is_null() && root["files"].is_null() {
        return refusal(
            node,
            None,
            &call.path,
            400,
            "neither 'from' or 'files' was specified",
        );
    }
    if let Some(files) = root["files"].as_object() {
        let blobs = node.blobs.lock();
        if let Some(absent) = files
            .values()
            .filter_map(Value::as_str)
            .find(|digest| !blobs.contains(*digest))
        {
            return refusal(
                node,
                None,
                &call.path,
                400,
                &format!("blob {absent} not found"),
            );
        }
    }
    node.models
        .lock()
        .push(ScriptedModel::chat(&normalise(&named(call))));
    let lines =
        ["parsing GGUF", "writing manifest", "success"].map(|status| json!({"status": status}));
    progress(call, &lines)
}

fn copy(node: &Node, call: &Call) -> Reply {
    let root = call.json();
    let source = root["source"].as_str().unwrap_or_default();
    let Some(model) = node.find_model(source) else {
        return refusal(
            node,
            None,
            &call.path,
            404,
            &format!("model \"{source}\" not found"),
        );
    };
    let name = normalise(root["destination"].as_str().unwrap_or_default());
    if let Some(files) = &node.files {
        let copied = std::fs::read(files.manifest(&model.name))
            .map_err(anyhow::Error::from)
            .and_then(|text| files.add_manifest(&name, &text));
        if let Err(error) = copied {
            return refusal(node, None, &call.path, 500, &format!("{error:#}"));
        }
        let mut models = node.models.lock();
        models.retain(|model| normalise(&model.name) != name);
    }
    node.models.lock().push(ScriptedModel {
        name,
        loaded: None,
        ..model
    });
    response(200, "text/plain", full(""))
}

fn blob(node: &Node, call: &Call) -> Reply {
    let digest = call.path.trim_start_matches("/api/blobs/").to_owned();
    let status = match call.method {
        Method::HEAD if node.blobs.lock().contains(&digest) => 200,
        Method::HEAD => 404,
        Method::POST if node.blobs.lock().insert(digest) => 201,
        Method::POST => 200,
        _ => 405,
    };
    response(status, "text/plain", full(""))
}
