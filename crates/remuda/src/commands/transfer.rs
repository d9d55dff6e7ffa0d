//! Commands about models whose progress the server tells line by line.

use serde_json::Value;

use super::context::Context;
use super::failure::Failure;
use crate::client::query;
use crate::output::{Step, TransferProgress};

/// Adds the nodes that a command is for to its path.
pub(super) fn at_nodes(path: &str, nodes: &[String]) -> String {
    let nodes = nodes.join(",");
    query(
        path,
        &[("node", (!nodes.is_empty()).then_some(nodes.as_str()))],
    )
}

/// Has the server do it, shows how far it is, and fails unless it is told to be done.
pub(super) async fn follow(context: &Context, path: &str, body: &Value) -> Result<(), Failure> {
    let api = context.api()?;
    let mut progress = TransferProgress::new();
    let following = async {
        let mut lines = api.stream(path, body).await?;
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
        result = Box::pin(following) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    };
    progress.finish();
    result
}

fn number(line: &Value, name: &str) -> Option<u64> {
    line.get(name).and_then(Value::as_u64)
}
