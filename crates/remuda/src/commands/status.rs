//! `remuda status`: is the server well?

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::context::Context;
use super::failure::Failure;
use crate::output::{Output, Tone};

/// Shows whether the server and its parts are well. Exits with 1 when it is not ready.
#[derive(Debug, Args)]
pub(super) struct Status {}

#[derive(Deserialize)]
struct Health {
    status: String,
    version: Option<String>,
    #[serde(default)]
    components: Map<String, Value>,
}

impl Status {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let (code, health) = api.get_any("/health").await?;
        if context.out.is_json() {
            context.out.json(&health)?;
        } else {
            let health: Health = api.decode(health)?;
            tell(context.out, &api.server().to_string(), &health)?;
        }
        if code == 200 {
            Ok(())
        } else {
            Err(Failure::Told)
        }
    }
}

fn tell(out: Output, server: &str, health: &Health) -> Result<(), Failure> {
    out.line(format!(
        "Remuda {} at {server}: {}",
        health.version.as_deref().unwrap_or_default(),
        out.paint(tone(&health.status), &health.status),
    ))?;
    for (name, component) in &health.components {
        let status = component
            .get("status")
            .and_then(Value::as_str)
            .unwrap_or("unknown");
        let detail = component
            .get("detail")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let padding = " ".repeat(10_usize.saturating_sub(status.len()));
        out.line(
            format!(
                "  {name:<12}{}{padding}{detail}",
                out.paint(tone(status), status)
            )
            .trim_end(),
        )?;
    }
    Ok(())
}

fn tone(status: &str) -> Tone {
    match status {
        "ok" | "ready" => Tone::Good,
        "degraded" => Tone::Warning,
        _ => Tone::Bad,
    }
}
