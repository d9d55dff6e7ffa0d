//! `remuda pull`: fetches a model onto nodes, with progress.

use clap::Args;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use crate::client::query;
use crate::output::{Step, TransferProgress};

/// Fetches a model onto nodes and shows how far it is.
#[derive(Debug, Args)]
#[command(after_long_help = "Without --node Remuda chooses the nodes.

Examples:
  remuda pull llama3.2
  remuda pull qwen3:8b --node gpu1 --node gpu2
  remuda pull llama3.2 --json | jq .status")]
pub(super) struct Pull {
    /// The model.
    model: String,
    /// A node to fetch it onto. Repeatable.
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
    /// Allow registries without a trusted certificate.
    #[arg(long)]
    insecure: bool,
}

impl Pull {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let nodes = self.nodes.join(",");
        let path = query(
            "/api/pull",
            &[("node", (!nodes.is_empty()).then_some(nodes.as_str()))],
        );
        let mut body = json!({"model": self.model, "stream": true});
        if self.insecure {
            body["insecure"] = Value::Bool(true);
        }
        let api = context.api()?;
        let mut progress = TransferProgress::new();
        let pulling = async {
            let mut lines = api.stream(&path, &body).await?;
            let mut succeeded = false;
            while let Some(line) = lines.next().await? {
                let status = line
                    .get("status")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                succeeded = status == "success";
                if context.out.is_json() {
                    context.out.json(&line)?;
                } else {
                    progress.show(&Step {
                        status,
                        node: line.get("node").and_then(Value::as_str),
                        bytes: number(&line, "total")
                            .map(|total| (number(&line, "completed").unwrap_or(0), total)),
                    });
                }
            }
            if succeeded {
                Ok(())
            } else {
                Err(Failure::from(lines.cut()))
            }
        };
        let result = tokio::select! {
            result = Box::pin(pulling) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        };
        progress.finish();
        result
    }
}

fn number(line: &Value, name: &str) -> Option<u64> {
    line.get(name).and_then(Value::as_u64)
}
