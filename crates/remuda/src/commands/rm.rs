//! `remuda rm`: removes a model from nodes.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use crate::client::query;

/// Removes a model from nodes.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Without --node the model goes from every node that has it.

Examples:
  remuda rm llama3.2
  remuda rm qwen3:8b --node gpu2"
)]
pub(super) struct Rm {
    /// The models.
    #[arg(required = true)]
    models: Vec<String>,
    /// A node to remove them from. Repeatable.
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,
}

impl Rm {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let nodes = self.nodes.join(",");
        let path = query(
            "/api/delete",
            &[("node", (!nodes.is_empty()).then_some(nodes.as_str()))],
        );
        for model in self.models {
            api.delete(&path, Some(&json!({"model": model}))).await?;
            if context.out.is_json() {
                context.out.json(&json!({"removed": model}))?;
            } else {
                context.out.line(format!("Removed {model}."))?;
            }
        }
        Ok(())
    }
}
