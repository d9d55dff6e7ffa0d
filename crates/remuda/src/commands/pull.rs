//! `remuda pull`: fetches a model onto nodes, with progress.

use clap::Args;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::transfer::{at_nodes, follow};

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
        let mut body = json!({"model": self.model, "stream": true});
        if self.insecure {
            body["insecure"] = Value::Bool(true);
        }
        follow(context, &at_nodes("/api/pull", &self.nodes), &body).await
    }
}
