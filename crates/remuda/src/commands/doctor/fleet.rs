//! The nodes: as the running server sees them, or asked directly.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use url::Url;
use web::outbound::{Client, ClientConfig, Reach, Trust};

use super::super::failure::Failure;
use super::Finding;
use super::server::Server;
use crate::client::{ClientError, query};
use crate::config::{Config, LOCAL_OLLAMA};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at the nodes.
pub(super) async fn check(
    config: &Config,
    server: &Server,
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let trust = trust(config, findings);
    if let Server::Up(api) = server
        && let Ok(nodes) = api
            .get(&query("/api/v1/nodes", &[("limit", Some("500"))]))
            .await
    {
        as_the_server_sees_them(&nodes, findings);
        return Ok(());
    }
    let Some(trust) = trust else {
        return Ok(());
    };
    let client = Client::new(ClientConfig {
        trust,
        ..ClientConfig::new(Reach::Nodes)
    })
    .map_err(|error| ClientError::Unexpected {
        server: "this machine".to_owned(),
        reason: error.to_string(),
    })?;
    for node in &config.nodes {
        ask(
            &client,
            &node.name,
            &node.url,
            node.api_key.as_ref(),
            findings,
        )
        .await;
    }
    if config.discovery.ollama {
        local_ollama(&client, config, findings).await;
    }
    Ok(())
}

/// Returns whom nodes are vouched for by, or none where that cannot be read: `remuda up` would not start either.
fn trust(config: &Config, findings: &mut Vec<Finding>) -> Option<Trust> {
    let Some(path) = &config.outbound.ca_file else {
        return Some(Trust::default());
    };
    Trust::from_file(path)
        .inspect_err(|error| {
            findings.push(Finding::broken(
                "ca_file",
                error.to_string(),
                "name a file with the certificates (PEM) of your authorities as ca_file in [outbound], or remove the key",
            ));
        })
        .ok()
}

fn as_the_server_sees_them(nodes: &Value, findings: &mut Vec<Finding>) {
    let text = |node: &Value, key: &str| {
        node.get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    for node in nodes
        .get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let (name, state) = (text(node, "name"), text(node, "state"));
        findings.push(match state.as_str() {
            "ready" | "busy" => Finding::good("node", format!("{name} is {state}")),
            "draining" => Finding::warning(
                "node",
                format!("{name} is draining and gets nothing new"),
                format!("`remuda node undrain {name}` sends it requests again"),
            ),
            _ => {
                let why = [text(node, "reason"), text(node, "last_error")]
                    .into_iter()
                    .find(|why| !why.is_empty())
                    .unwrap_or_else(|| "no probe has been answered yet".to_owned());
                let remedy = if why.contains("api_key") {
                    key_remedy(&name, &text(node, "source"))
                } else {
                    "start the server there, correct its address, or remove it with `remuda node remove`"
                        .to_owned()
                };
                Finding::broken("node", format!("{name} is {state}: {why}"), remedy)
            }
        });
    }
}

/// Says where the key of a node is corrected.
fn key_remedy(name: &str, source: &str) -> String {
    if source == "config" {
        format!("correct the api_key of {name} in the configuration, or the key at its server")
    } else {
        format!(
            "set the key that its server wants: the node's page in the dashboard, or `PATCH /api/v1/nodes/{name}` with api_key"
        )
    }
}

async fn ask(
    client: &Client,
    name: &str,
    base: &str,
    key: Option<&primitives::Secret<String>>,
    findings: &mut Vec<Finding>,
) {
    let mut answers = Vec::new();
    let mut wants_key = false;
    for path in ["api/version", "v1/models"] {
        let Ok(url) = Url::parse(&format!("{}/{path}", base.trim_end_matches('/'))) else {
            continue;
        };
        let mut call = client.get(&url).total_timeout(Some(PATIENCE));
        if let Some(key) = key {
            call = call.bearer(key);
        }
        match call.send().await {
            Ok(answer) if answer.status().is_success() => {
                findings.push(Finding::good("node", format!("{name} answers at {base}")));
                return;
            }
            Ok(answer) => {
                wants_key |= matches!(
                    answer.status(),
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                );
                answers.push(format!("{} for /{path}", answer.status()));
            }
            Err(error) => {
                answers.push(error.to_string());
                break;
            }
        }
    }
    findings.push(Finding::broken(
        "node",
        format!(
            "{name} at {base} does not answer as a model server: {}",
            answers.join(", ")
        ),
        if wants_key {
            key_remedy(name, "config")
        } else {
            "start the server there, or correct its url in the configuration".to_owned()
        },
    ));
}

async fn local_ollama(client: &Client, config: &Config, findings: &mut Vec<Finding>) {
    let base = config
        .discovery
        .ollama_url
        .as_deref()
        .unwrap_or(LOCAL_OLLAMA);
    let Ok(url) = Url::parse(&format!("{}/api/version", base.trim_end_matches('/'))) else {
        return;
    };
    let answered = client
        .get(&url)
        .total_timeout(Some(PATIENCE))
        .send()
        .await
        .is_ok_and(|answer| answer.status().is_success());
    findings.push(Finding::good(
        "node",
        if answered {
            format!("a local Ollama answers at {base}: `remuda up` takes it as a node")
        } else {
            format!("no local Ollama answers at {base}, which is fine")
        },
    ));
}
