//! `remuda load` and `remuda stop`: what nodes have in memory.

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;

/// Loads a model into a node's memory, and returns when it is there.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda load llama3.2                         where it fits best
  remuda load llama3.2 --node gpu1 --keep-alive 2h
  remuda load llama3.2 --node gpu1 --pin       stays until it is stopped")]
pub(super) struct Load {
    /// The model.
    model: String,
    /// The node, by name or id. Without it: where it fits best.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// How long it stays when nobody uses it, as 30m or 2h. Without it: the node's own time.
    #[arg(long, value_name = "TIME", conflicts_with = "pin")]
    keep_alive: Option<String>,
    /// Let it stay for as long as the node runs, or until `remuda stop`.
    #[arg(long)]
    pin: bool,
}

/// Takes a model out of the memory of nodes; answers under way there are finished first.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda stop llama3.2                         everywhere
  remuda stop llama3.2 --node gpu1")]
pub(super) struct Stop {
    /// The model.
    model: String,
    /// The node, by name or id. Without it: every node that has it in memory.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

#[derive(Deserialize)]
struct Told {
    model: String,
    nodes: Vec<String>,
    took_ms: u64,
}

impl Load {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({"model": self.model});
        if let Some(node) = self.node {
            body["node"] = json!(node);
        }
        if self.pin {
            body["keep_alive"] = json!(-1);
        } else if let Some(time) = self.keep_alive {
            body["keep_alive"] = json!(time);
        }
        tell(context, "load", &body, "is in memory at").await
    }
}

impl Stop {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({"model": self.model});
        if let Some(node) = self.node {
            body["node"] = json!(node);
        }
        tell(context, "unload", &body, "is no longer in memory at").await
    }
}

async fn tell(context: &Context, verb: &str, body: &Value, done: &str) -> Result<(), Failure> {
    let api = context.api()?;
    let told = api
        .post_patiently(&format!("/api/v1/models/{verb}"), body)
        .await?;
    if context.out.is_json() {
        return Ok(context.out.json(&told)?);
    }
    let told: Told = api.decode(told)?;
    if told.nodes.is_empty() {
        return Ok(context
            .out
            .line(format!("{} is in no node's memory.", told.model))?);
    }
    Ok(context.out.line(format!(
        "{} {done} {} ({} ms).",
        told.model,
        told.nodes.join(", "),
        told.took_ms
    ))?)
}
