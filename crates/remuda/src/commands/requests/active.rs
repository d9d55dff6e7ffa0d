//! `remuda requests active` and `remuda requests cancel`: what is under way, and its end from outside.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::super::context::Context;
use super::super::failure::Failure;
use super::super::id_path::id_path;
use crate::client::query;
use crate::output::{Columns, Tone, millis_from_micros};

/// Lists the requests under way, the earliest first.
#[derive(Debug, Args)]
pub(super) struct Active {
    /// Only requests for this model.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Only requests at this node.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// How many to show.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500), value_name = "COUNT")]
    limit: u32,
}

/// Ends a request under way; its client hears that an administrator has cancelled it.
#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// The request's id, in full.
    id: String,
}

#[derive(Deserialize)]
struct Page {
    total: usize,
    items: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    state: String,
    class: String,
    caller: String,
    operation: String,
    model: String,
    node: Option<String>,
    queue_ms: i64,
    age_ms: i64,
}

impl Active {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let limit = self.limit.to_string();
        let path = query(
            "/api/v1/inference/active",
            &[
                ("model", self.model.as_deref()),
                ("node", self.node.as_deref()),
                ("limit", Some(&limit)),
            ],
        );
        let api = context.api()?;
        let page = api.get(&path).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&page)?);
        }
        let page: Page = api.decode(page)?;
        let mut table = Columns::new(
            [
                "STATE",
                "FOR",
                "OPERATION",
                "MODEL",
                "NODE",
                "CALLER",
                "CLASS",
                "QUEUE",
                "ID",
            ],
            "No requests are under way.",
        )
        .dispensing_with(&["CLASS", "OPERATION", "QUEUE"]);
        let shown = page.items.len();
        for row in page.items {
            table.row_marked(
                0,
                tone(&row.state),
                [
                    row.state,
                    millis_from_micros(row.age_ms.saturating_mul(1_000)),
                    row.operation,
                    row.model,
                    row.node.unwrap_or_default(),
                    row.caller,
                    row.class,
                    millis_from_micros(row.queue_ms.saturating_mul(1_000)),
                    row.id,
                ],
            );
        }
        table.print(context.out)?;
        if shown < page.total {
            context
                .out
                .line(format!("{shown} of {} are shown.", page.total))?;
        }
        Ok(())
    }
}

fn tone(state: &str) -> Tone {
    match state {
        "answering" => Tone::Good,
        "queued" => Tone::Warning,
        _ => Tone::Faint,
    }
}

impl Cancel {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = id_path(
            "/api/v1/inference/requests",
            &self.id,
            "a request",
            "remuda requests active",
        )?;
        context.api()?.poke(&format!("{path}/cancel")).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&json!({"cancelled": self.id}))?);
        }
        Ok(context.out.line(format!("Cancelled {}.", self.id))?)
    }
}
