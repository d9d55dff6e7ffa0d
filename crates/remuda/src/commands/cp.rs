//! `remuda cp`: copies a model under another name.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use crate::client::query;

/// Copies a model under another name.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Without --node it is copied on every node that has it.

Examples:
  remuda cp llama3.2 assistant
  remuda cp llama3.2 assistant --node gpu1"
)]
pub(super) struct Cp {
    /// The model.
    source: String,
    /// Its new name.
    destination: String,
    /// A node to copy it on. Repeatable.
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
}

impl Cp {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let nodes = self.nodes.join(",");
        let path = query(
            "/api/copy",
            &[("node", (!nodes.is_empty()).then_some(nodes.as_str()))],
        );
        let body = json!({"source": self.source, "destination": self.destination});
        context.api()?.post(&path, &body).await?;
        if context.out.is_json() {
            context.out.json(&body)?;
        } else {
            context
                .out
                .line(format!("Copied {} to {}.", self.source, self.destination))?;
        }
        Ok(())
    }
}
