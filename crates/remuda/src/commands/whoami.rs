//! `remuda whoami`: who the server takes the caller for.

use clap::Args;
use serde_json::Value;

use super::context::Context;
use super::failure::Failure;

/// Shows who you are to the server and what you may do.
#[derive(Debug, Args)]
pub(super) struct Whoami {}

impl Whoami {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let me = context.api()?.get("/api/v1/me").await?;
        if context.out.is_json() {
            return Ok(context.out.json(&me)?);
        }
        let text = |name: &str| me.get(name).and_then(Value::as_str);
        let models = match me.get("models").and_then(Value::as_array) {
            Some(list) => list
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(", "),
            None => "all models".to_owned(),
        };
        if text("kind") == Some("anonymous") {
            context.out.line(format!(
                "Nobody at {}: you may use {models}; `remuda login` signs in.",
                context.server
            ))?;
            return Ok(());
        }
        context.out.line(format!(
            "{} at {} ({}, role {}, may use {models})",
            text("name")
                .or_else(|| text("username"))
                .unwrap_or("somebody"),
            context.server,
            text("kind").unwrap_or("signed in"),
            text("role").unwrap_or("unknown"),
        ))?;
        Ok(())
    }
}
