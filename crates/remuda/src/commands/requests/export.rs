//! `remuda requests export`: all records of a time, one JSON object a line, as `remuda simulate` reads them.

use clap::Args;
use primitives::Timestamp;
use serde_json::Value;

use super::super::context::Context;
use super::super::failure::Failure;
use super::{Filter, read_time};
use crate::output::{Output, remark};

/// Records of one page: the most that the server gives.
const PAGE: &str = "500";

/// Writes all matching records to standard output, one JSON object a line, the earliest first.
#[derive(Debug, Args)]
#[command(
    after_long_help = "The records are read page by page, so that any number of them fits. Deleted ones ([requests] retention) are gone.
The output is a trace for `remuda simulate`.

Examples:
  remuda requests export --since 7d > week.jsonl
  remuda requests export --since 2026-01-31T00:00:00Z --until 2026-02-01T00:00:00Z > day.jsonl
  remuda requests export --model llama3.2 | jq -r '[.received_at, .prompt_tokens, .completion_tokens] | @csv'"
)]
pub(super) struct Export {
    #[command(flatten)]
    filter: Filter,
    /// Only requests before this long ago (30m, 12h, 7d) or this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let until = self
            .until
            .as_deref()
            .map(|text| read_time("--until", text, context.now()))
            .transpose()?;
        let exporting = export(context, &self.filter, until);
        tokio::select! {
            result = Box::pin(exporting) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        }
    }
}

/// The server lists the latest first, and a trace begins with the earliest: the pages are found, then read from the last.
async fn export(
    context: &Context,
    filter: &Filter,
    until: Option<Timestamp>,
) -> Result<(), Failure> {
    let api = context.api()?;
    // Once for all pages: "7 days ago" must not move while they are read.
    let now = context.now();
    // A page below a cursor stays as it is. The first one has none and is kept: later requests would come on top of it.
    let latest = api.get(&filter.path(now, PAGE, None)?).await?;
    let mut cursors = Vec::new();
    let mut next = next_cursor(&latest);
    while let Some(cursor) = next {
        let page = api.get(&filter.path(now, PAGE, Some(&cursor))?).await?;
        next = next_cursor(&page);
        cursors.push(cursor);
    }
    let mut written = 0_u64;
    for cursor in cursors.iter().rev() {
        let page = match api.get(&filter.path(now, PAGE, Some(cursor))?).await {
            Ok(page) => page,
            Err(error) => {
                remark(&format!("{written} records are written, more are missing."));
                return Err(error.into());
            }
        };
        written += write_page(context.out, &page, until)?;
    }
    written += write_page(context.out, &latest, until)?;
    let plural = if written == 1 { "" } else { "s" };
    remark(&format!("{written} record{plural} written."));
    Ok(())
}

/// Writes the records of a page from its end, and returns how many.
fn write_page(out: Output, page: &Value, until: Option<Timestamp>) -> Result<u64, Failure> {
    let items = page.get("items").and_then(Value::as_array);
    let mut written = 0;
    for record in items.into_iter().flatten().rev() {
        if until.is_none_or(|until| received_at(record).is_some_and(|time| time < until)) {
            out.json(record)?;
            written += 1;
        }
    }
    Ok(written)
}

fn next_cursor(page: &Value) -> Option<String> {
    let cursor = page.get("next_cursor")?.as_str()?;
    Some(cursor.to_owned())
}

fn received_at(record: &Value) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(record.get("received_at")?.as_str()?)
}
