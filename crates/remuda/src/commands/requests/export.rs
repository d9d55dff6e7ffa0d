//! `remuda requests export`: all records of a time, one JSON object a line, as `remuda simulate` reads them.

use std::cmp::Ordering;

use clap::Args;
use primitives::Timestamp;
use serde_json::Value;

use super::super::context::Context;
use super::super::failure::Failure;
use super::{Filter, read_time};
use crate::client::Api;
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

/// A page as it was found: everything below a cursor down to a record. Later it can take several pages to read, because a
/// request has its place by its arrival, and its record only after its end.
struct Stretch {
    cursor: String,
    /// The id of the last record; without it the stretch goes on to the earliest one.
    last: Option<String>,
}

impl Stretch {
    /// Moves the records that belong to the stretch from a page, and returns where to read on.
    fn take(&self, page: &mut Value, records: &mut Vec<Value>) -> Option<String> {
        for record in items(page) {
            // Ids are in the order of the list, and the last record may have been deleted.
            let place = record.get("id").and_then(Value::as_str);
            match place.cmp(&self.last.as_deref()) {
                Ordering::Less => return None,
                Ordering::Equal => {
                    records.push(record);
                    return None;
                }
                Ordering::Greater => records.push(record),
            }
        }
        next_cursor(page)
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
    // The first page is kept: later requests would come on top of it.
    let mut latest = api.get(&filter.path(now, PAGE, None)?).await?;
    let mut stretches = Vec::new();
    let mut next = next_cursor(&latest);
    while let Some(cursor) = next {
        let mut page = api.get(&filter.path(now, PAGE, Some(&cursor))?).await?;
        next = next_cursor(&page);
        let last = next.as_ref().and_then(|_| last_id(&mut page));
        stretches.push(Stretch { cursor, last });
    }
    let mut written = 0_u64;
    for stretch in stretches.iter().rev() {
        let records = match read(&api, filter, now, stretch).await {
            Ok(records) => records,
            Err(error) => {
                remark(&format!("{written} records are written, more are missing."));
                return Err(error);
            }
        };
        written += write(context.out, &records, until)?;
    }
    written += write(context.out, &items(&mut latest), until)?;
    let plural = if written == 1 { "" } else { "s" };
    remark(&format!("{written} record{plural} written."));
    Ok(())
}

/// Reads all records of a stretch, the latest first.
async fn read(
    api: &Api,
    filter: &Filter,
    now: Timestamp,
    stretch: &Stretch,
) -> Result<Vec<Value>, Failure> {
    let mut records = Vec::new();
    let mut next = Some(stretch.cursor.clone());
    while let Some(cursor) = next {
        let mut page = api.get(&filter.path(now, PAGE, Some(&cursor))?).await?;
        next = stretch.take(&mut page, &mut records);
    }
    Ok(records)
}

/// Writes records from the last one on, and returns how many.
fn write(out: Output, records: &[Value], until: Option<Timestamp>) -> Result<u64, Failure> {
    let mut written = 0;
    for record in records.iter().rev() {
        if until.is_none_or(|until| received_at(record).is_some_and(|time| time < until)) {
            out.json(record)?;
            written += 1;
        }
    }
    Ok(written)
}

/// Takes the records out of a page.
fn items(page: &mut Value) -> Vec<Value> {
    match page.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn last_id(page: &mut Value) -> Option<String> {
    let id = items(page).pop()?.get("id")?.as_str()?.to_owned();
    Some(id)
}

fn next_cursor(page: &Value) -> Option<String> {
    let cursor = page.get("next_cursor")?.as_str()?;
    Some(cursor.to_owned())
}

fn received_at(record: &Value) -> Option<Timestamp> {
    Timestamp::parse_rfc3339(record.get("received_at")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(ids: &[&str], next: Option<&str>) -> Value {
        let items: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
        json!({"items": items, "next_cursor": next})
    }

    #[test]
    fn a_stretch_ends_where_it_did_whatever_was_added_or_deleted() {
        let stretch = Stretch {
            cursor: "a7".to_owned(),
            last: Some("a3".to_owned()),
        };
        let mut records = Vec::new();
        // Two were added, so that the page ends before the stretch does.
        let next = stretch.take(&mut page(&["a6", "a5x", "a5"], Some("a5")), &mut records);
        assert_eq!(next.as_deref(), Some("a5"));
        let next = stretch.take(&mut page(&["a4", "a3", "a2"], Some("a2")), &mut records);
        assert_eq!(next, None);
        let ids = ["a6", "a5x", "a5", "a4", "a3"];
        assert_eq!(json!(records), page(&ids, None)["items"]);
        // The last one was deleted.
        let mut records = Vec::new();
        let next = stretch.take(&mut page(&["a4", "a2"], Some("a2")), &mut records);
        assert_eq!((next, records.len()), (None, 1));
    }
}
