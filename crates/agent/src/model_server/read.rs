//! What the model server is and has.

use std::collections::HashMap;

use agent_proto::is_copy_name;
use agent_proto::v1::{Model, ModelServer as Reading};
use serde::Deserialize;

use super::ModelServer;
use super::call::CallError;

/// Gauges of requests at work, in the text that servers write for Prometheus.
const RUNNING: [&str; 3] = [
    "vllm:num_requests_running",
    "llamacpp:requests_processing",
    "sglang:num_running_reqs",
];
/// The most models that are told.
const MOST_MODELS: usize = 10_000;

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct OllamaModels {
    #[serde(default)]
    models: Vec<OllamaModel>,
}

#[derive(Deserialize)]
struct OllamaModel {
    name: String,
    digest: Option<String>,
    size: Option<u64>,
    size_vram: Option<u64>,
}

#[derive(Deserialize)]
struct OpenAiModels {
    data: Vec<OpenAiModel>,
}

#[derive(Deserialize)]
struct OpenAiModel {
    id: String,
}

/// Asks the server for everything that a state tells of it.
pub(crate) async fn read_server(server: &ModelServer) -> Reading {
    let read = match server.json::<OllamaModels>("/api/tags").await {
        Ok(on_disk) => ollama(server, on_disk).await,
        Err(CallError::Unreachable(problem)) => Err(problem),
        Err(CallError::Answer(_)) => openai(server).await,
    };
    read.unwrap_or_else(|problem| Reading {
        problem: Some(problem),
        ..Reading::default()
    })
}

async fn ollama(server: &ModelServer, on_disk: OllamaModels) -> Result<Reading, String> {
    let (version, loaded) = tokio::join!(
        server.json::<Version>("/api/version"),
        server.json::<OllamaModels>("/api/ps")
    );
    let loaded: HashMap<String, OllamaModel> = loaded
        .map(|loaded| loaded.models)
        .unwrap_or_default()
        .into_iter()
        .map(|model| (model.name.clone(), model))
        .collect();
    let named = on_disk.models.into_iter();
    let named = named.filter(|model| !is_copy_name(&model.name));
    let models = named.take(MOST_MODELS).map(|model| {
        let loaded = loaded.get(&model.name);
        Model {
            digest: model.digest,
            size_bytes: model.size,
            loaded: loaded.is_some(),
            vram_bytes: loaded.and_then(|loaded| loaded.size_vram),
            name: model.name,
        }
    });
    Ok(Reading {
        reachable: true,
        problem: None,
        api: "ollama".to_owned(),
        version: version.ok().map(|version| version.version),
        models: models.collect(),
        in_flight: None,
    })
}

async fn openai(server: &ModelServer) -> Result<Reading, String> {
    let (models, version, metrics) = tokio::join!(
        server.json::<OpenAiModels>("/v1/models"),
        server.json::<Version>("/version"),
        server.text("/metrics")
    );
    let models = models.map_err(|error| match error {
        CallError::Unreachable(problem) => problem,
        CallError::Answer(reason) => format!(
            "what answers at {} is neither Ollama nor OpenAI-compatible ({reason}): start the agent with another --model-server",
            server.address
        ),
    })?;
    // These servers hold what they list in memory.
    let models = models
        .data
        .into_iter()
        .take(MOST_MODELS)
        .map(|model| Model {
            name: model.id,
            loaded: true,
            ..Model::default()
        });
    Ok(Reading {
        reachable: true,
        problem: None,
        api: "openai".to_owned(),
        version: version.ok().map(|version| version.version),
        models: models.collect(),
        in_flight: metrics
            .ok()
            .and_then(|text| running(&String::from_utf8_lossy(&text))),
    })
}

/// Reads how many requests are at work, summed over the server's engines.
fn running(text: &str) -> Option<u32> {
    let mut total = None;
    for line in text.lines() {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        if !RUNNING.contains(&name) {
            continue;
        }
        let value = line
            .rsplit(' ')
            .next()
            .and_then(|value| value.parse::<f64>().ok());
        if let Some(value) = value.filter(|value| (0.0..1e6).contains(value)) {
            *total.get_or_insert(0) += value as u32;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_at_work_are_read_from_what_servers_write() {
        let vllm = "# TYPE vllm:num_requests_running gauge\n\
                    vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3.0\n\
                    vllm:num_requests_running{engine=\"1\",model_name=\"m\"} 1.0\n\
                    vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 7.0\n";
        assert_eq!(running(vllm), Some(4));
        assert_eq!(running("llamacpp:requests_processing 2\n"), Some(2));
        assert_eq!(running("llamacpp:requests_processing NaN\n"), None);
        assert_eq!(running(""), None);
    }
}
