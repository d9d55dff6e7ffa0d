//! `remuda push`: sends a model from a node to a registry, with progress.

use clap::Args;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::transfer::{at_nodes, follow};

/// Sends a model to a registry and shows how far it is.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Without --node it is sent from one of the nodes that have it. The node presents its own key to the registry.

Examples:
  remuda push team/assistant
  remuda push registry.example:5000/team/assistant --insecure --node gpu1"
)]
pub(super) struct Push {
    /// The model, as its registry knows it.
    model: String,
    /// The node to send it from.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Allow registries without a trusted certificate.
    #[arg(long)]
    insecure: bool,
}

impl Push {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({"model": self.model, "stream": true});
        if self.insecure {
            body["insecure"] = Value::Bool(true);
        }
        let nodes: Vec<String> = self.node.into_iter().collect();
        follow(context, &at_nodes("/api/push", &nodes), &body).await
    }
}
