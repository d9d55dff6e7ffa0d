//! `remuda rollout list` and `show`, and what the other commands answer.

use clap::Args;
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{ROLLOUTS, path};
use crate::client::query;
use crate::commands::context::Context;
use crate::commands::failure::Failure;
use crate::output::{Columns, Tone, ago, rounded};

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those of this model.
    #[arg(long)]
    model: Option<String>,
    /// How many, 1 to 500.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Row>,
}

#[derive(Deserialize)]
struct Version {
    model: String,
    requests: u64,
    failed: u64,
    error_rate: Option<f64>,
    first_token_ms: Option<f64>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    model: String,
    from: Version,
    to: Version,
    state: String,
    in_effect: bool,
    stage: Option<String>,
    stage_number: u32,
    stages: Vec<String>,
    share_percent: f64,
    node: Option<String>,
    waits_for: Option<String>,
    reason: Option<String>,
    requests: Vec<String>,
    changed_by: String,
    updated_at: Timestamp,
}

impl Row {
    fn state(&self) -> String {
        let state = self.state.replace('_', " ");
        let has_ended = !matches!(self.state.as_str(), "running" | "paused");
        if has_ended && self.in_effect {
            format!("{state}, in effect")
        } else {
            state
        }
    }

    fn tone(&self) -> Tone {
        match self.state.as_str() {
            "rolled_back" => Tone::Bad,
            "done" => Tone::Good,
            _ => Tone::Faint,
        }
    }

    fn stage(&self) -> String {
        match self.stage.as_deref() {
            None => format!("before the first of {}", self.stages.len()),
            Some(stage) => format!(
                "{} ({} of {})",
                stage_text(stage),
                self.stage_number,
                self.stages.len()
            ),
        }
    }
}

fn stage_text(stage: &str) -> String {
    match stage {
        "node" => "one node".to_owned(),
        "100" => "all".to_owned(),
        percent => format!("{percent} %"),
    }
}

impl Version {
    fn errors(&self) -> String {
        match self.error_rate {
            None => "none yet".to_owned(),
            Some(rate) => format!(
                "{} of {} ({} %)",
                self.failed,
                self.requests,
                rounded(rate * 100.0)
            ),
        }
    }
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let limit = self.limit.to_string();
        let path = query(
            ROLLOUTS,
            &[
                ("limit", Some(limit.as_str())),
                ("model", self.model.as_deref()),
            ],
        );
        let found = api.get(&path).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&found)?);
        }
        let mut table = Columns::new(
            [
                "MODEL", "TO", "STATE", "STAGE", "SHARE", "FAILED", "CHANGED", "WHY",
            ],
            "Nothing was rolled out yet: start with `remuda rollout start MODEL --to NEWMODEL`.",
        )
        .dispensing_with(&["CHANGED"]);
        for row in api.decode::<Page>(found)?.items {
            table.row_marked(
                2,
                row.tone(),
                [
                    row.model.clone(),
                    row.to.model.clone(),
                    row.state(),
                    row.stage(),
                    format!("{} %", row.share_percent),
                    row.to.errors(),
                    ago(row.updated_at, context.now()),
                    row.reason.or(row.waits_for).unwrap_or_default(),
                ],
            );
        }
        Ok(table.print(context.out)?)
    }
}

/// Shows one roll-out.
pub(super) async fn one(context: &Context, rollout: &str) -> Result<(), Failure> {
    let found = context.api()?.get(&path(rollout)).await?;
    tell(context, found)
}

/// Tells of a roll-out as the server has answered it.
pub(super) fn tell(context: &Context, answered: Value) -> Result<(), Failure> {
    let out = context.out;
    if out.is_json() {
        return Ok(out.json(&answered)?);
    }
    let row: Row = context.api()?.decode(answered)?;
    out.line(out.paint(
        Tone::Strong,
        &format!("{} from {} to {}", row.model, row.from.model, row.to.model),
    ))?;
    out.line(format!(
        "  {}, changed {} by {} ({})",
        out.paint(row.tone(), &row.state()),
        ago(row.updated_at, context.now()),
        row.changed_by,
        row.id
    ))?;
    let at = row
        .node
        .as_ref()
        .map_or(String::new(), |node| format!(", at {node}"));
    out.line(format!(
        "  stage: {}{at}; {} % of the callers get {}",
        row.stage(),
        row.share_percent,
        row.to.model
    ))?;
    for version in [&row.to, &row.from] {
        let speed = version.first_token_ms.map_or(String::new(), |ms| {
            format!(", first token after {} ms at the median", rounded(ms))
        });
        out.line(format!(
            "  {}: failed in this stage: {}{speed}",
            version.model,
            version.errors()
        ))?;
    }
    for text in [&row.reason, &row.waits_for].into_iter().flatten() {
        out.paragraph("  ", 2, &format!("{text}."))?;
    }
    if !row.requests.is_empty() {
        out.line("  requests that show it, for `remuda why`:")?;
        for id in &row.requests {
            out.line(format!("    {id}"))?;
        }
    }
    Ok(())
}
