//! `remuda placement actions` and `cancel`.

use clap::Args;
use primitives::Timestamp;
use serde::Deserialize;

use crate::client::query;
use crate::commands::context::Context;
use crate::commands::failure::Failure;
use crate::commands::id_path::id_path;
use crate::output::{Columns, Tone, ago, bytes};

const ACTIONS: &str = "/api/v1/placement/actions";

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those that are so far.
    #[arg(long, value_parser = ["queued", "running", "done", "failed", "cancelled"])]
    status: Option<String>,
    /// Only those with this model.
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
struct Row {
    id: String,
    kind: String,
    model: String,
    node: String,
    status: String,
    why: String,
    done_bytes: u64,
    total_bytes: u64,
    error: Option<String>,
    created_at: Timestamp,
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let limit = self.limit.to_string();
        let path = query(
            ACTIONS,
            &[
                ("limit", Some(limit.as_str())),
                ("status", self.status.as_deref()),
                ("model", self.model.as_deref()),
            ],
        );
        let found = api.get(&path).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&found)?);
        }
        let mut table = Columns::new(
            [
                "WHEN", "STATUS", "DO", "MODEL", "NODE", "FETCHED", "ID", "WHY",
            ],
            "Nothing was done yet.",
        )
        .dispensing_with(&["FETCHED", "WHEN"]);
        for row in api.decode::<Page>(found)?.items {
            let tone = match row.status.as_str() {
                "failed" => Tone::Bad,
                _ => Tone::Faint,
            };
            let fetched = match row.total_bytes {
                0 => String::new(),
                total => format!("{} of {}", bytes(row.done_bytes), bytes(total)),
            };
            table.row_marked(
                1,
                tone,
                [
                    ago(row.created_at, context.now()),
                    row.status,
                    row.kind,
                    row.model,
                    row.node,
                    fetched,
                    row.id,
                    row.error.unwrap_or(row.why),
                ],
            );
        }
        Ok(table.print(context.out)?)
    }
}

/// Calls an action off.
pub(super) async fn cancel(context: &Context, id: &str) -> Result<(), Failure> {
    let path = id_path(ACTIONS, id, "an action", "remuda placement actions")?;
    let cancelled = context.api()?.poke(&format!("{path}/cancel")).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&cancelled)?);
    }
    Ok(context.out.line(format!("Called off {id}."))?)
}
