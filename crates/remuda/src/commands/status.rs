//! `remuda status`: is the server well?

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use crate::client::{Health, remedy};
use crate::output::{Output, Tone};

/// Where the words about a part begin.
const INDENT: usize = 24;

/// Shows whether the server and its parts are well. Exits with 1 when it does not answer.
#[derive(Debug, Args)]
#[command(
    after_long_help = "A part that is not well does not end the server's work: `remuda doctor` looks closer.

Examples:
  remuda status
  remuda status --json | jq .components.fleet"
)]
pub(super) struct Status {}

impl Status {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let (code, health) = api.get_any("/health").await?;
        if context.out.is_json() {
            context.out.json(&health)?;
        } else {
            tell(context.out, &api.server().to_string(), &api.decode(health)?)?;
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
        health.version.as_deref().unwrap_or("of unknown version"),
        out.paint(tone(&health.status), &health.status),
    ))?;
    for (name, component) in &health.components {
        let status = format!("{:<10}", component.status);
        let status = out.paint(tone(&component.status), &status);
        let head = format!("  {name:<12}{status}");
        out.paragraph(&head, INDENT, &component.detail)?;
        if !component.is_ok() {
            let head = format!("{:INDENT$}{} ", "", out.paint(Tone::Faint, "→"));
            out.paragraph(&head, INDENT + 2, remedy(name))?;
        }
    }
    Ok(())
}

fn tone(status: &str) -> Tone {
    match status {
        "ok" => Tone::Good,
        "degraded" => Tone::Warning,
        _ => Tone::Bad,
    }
}
