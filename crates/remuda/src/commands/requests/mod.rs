//! `remuda requests`: what was asked lately, and how it went.

mod active;
mod export;

use std::io::{self, IsTerminal as _};

use clap::{Args, Subcommand, ValueEnum};
use primitives::Timestamp;
use serde::Deserialize;

use super::context::Context;
use super::failure::Failure;
use crate::client::query;
use crate::config::Period;
use crate::output::{Columns, Tone, ago, millis_from_micros};

/// Characters of a short id.
const SHORT: usize = 12;

/// Lists recent requests, the latest first.
///
/// On a terminal ids are cut to their last 12 characters, which `remuda why` takes too.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_long_help = "Examples:
  remuda requests
  remuda requests --outcome failed --since 1h
  remuda requests --model llama3.2 --node gpu1 --limit 100
  remuda requests active
  remuda requests cancel 0198c0de-0000-7000-8000-000000000000
  remuda requests --json | jq '.items[] | select(.retries > 0)'
  remuda requests export --since 7d > week.jsonl")]
pub(super) struct Requests {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    filter: Filter,
    /// How many to show.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500), value_name = "COUNT")]
    limit: u32,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the requests under way.
    Active(active::Active),
    /// End a request under way.
    Cancel(active::Cancel),
    /// Write all matching records to standard output, one JSON object a line.
    Export(export::Export),
}

/// Which requests.
#[derive(Debug, Args)]
struct Filter {
    /// Only requests for this model.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Only requests that this node served.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only requests that ended so.
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<OutcomeName>,
    /// Only requests since this long ago (30m, 12h, 7d) or this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only requests of this key or person.
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
}

impl Filter {
    /// Returns the path of a page of at most `limit` records.
    fn path(&self, now: Timestamp, limit: &str, cursor: Option<&str>) -> Result<String, Failure> {
        let since = self
            .since
            .as_deref()
            .map(|text| read_time("--since", text, now))
            .transpose()?
            .map(Timestamp::to_rfc3339);
        Ok(query(
            "/api/v1/inference/requests",
            &[
                ("model", self.model.as_deref()),
                ("node", self.node.as_deref()),
                ("outcome", self.outcome.map(OutcomeName::as_str)),
                ("since", since.as_deref()),
                ("caller", self.caller.as_deref()),
                ("limit", Some(limit)),
                ("cursor", cursor),
            ],
        ))
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum OutcomeName {
    /// Answered in full.
    Ok,
    /// The client's mistake.
    ClientError,
    /// Turned away by a limit.
    Rejected,
    /// No node could answer.
    Failed,
    /// The client went away.
    Cancelled,
    /// The answer broke off after it had begun.
    Truncated,
}

impl OutcomeName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Truncated => "truncated",
        }
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    received_at: Timestamp,
    operation: String,
    requested_model: Option<String>,
    model: Option<String>,
    node: Option<String>,
    outcome: String,
    first_token_us: Option<i64>,
    total_us: i64,
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    retries: i64,
    continued: i64,
}

impl Requests {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Some(Action::Active(active)) => return active.run(context).await,
            Some(Action::Cancel(cancel)) => return cancel.run(context).await,
            Some(Action::Export(export)) => return export.run(context).await,
            None => {}
        }
        let path = self
            .filter
            .path(context.now(), &self.limit.to_string(), None)?;
        let api = context.api()?;
        let page = api.get(&path).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&page)?);
        }
        let page: Page = api.decode(page)?;
        let mut table = Columns::new(
            [
                "WHEN",
                "OPERATION",
                "MODEL",
                "NODE",
                "OUTCOME",
                "FIRST",
                "TOTAL",
                "TOKENS",
                "NOTES",
                "ID",
            ],
            "No such requests.",
        )
        .dispensing_with(&["OPERATION", "TOKENS", "FIRST", "NOTES"]);
        let short = io::stdout().is_terminal();
        for row in page.items {
            let notes = notes(&row);
            table.row_marked(
                4,
                outcome_tone(&row.outcome),
                [
                    ago(row.received_at, context.now()),
                    row.operation,
                    row.model.or(row.requested_model).unwrap_or_default(),
                    row.node.unwrap_or_default(),
                    row.outcome,
                    row.first_token_us.map_or(String::new(), millis_from_micros),
                    millis_from_micros(row.total_us),
                    format!(
                        "{}+{}",
                        row.prompt_tokens.unwrap_or(0),
                        row.completion_tokens.unwrap_or(0)
                    ),
                    notes,
                    if short {
                        short_id(&row.id).to_owned()
                    } else {
                        row.id
                    },
                ],
            );
        }
        Ok(table.print(context.out)?)
    }
}

/// Returns the end of an id, which is random: enough for a person to name a request with.
pub(super) fn short_id(id: &str) -> &str {
    id.len()
        .checked_sub(SHORT)
        .and_then(|start| id.get(start..))
        .unwrap_or(id)
}

/// Returns the tone in which an outcome is shown.
pub(super) fn outcome_tone(name: &str) -> Tone {
    match name {
        "ok" => Tone::Good,
        "failed" | "truncated" => Tone::Bad,
        "cancelled" => Tone::Faint,
        _ => Tone::Warning,
    }
}

fn notes(row: &Row) -> String {
    let mut notes = Vec::new();
    if row.retries > 0 {
        notes.push(format!("{} retried", row.retries));
    }
    if row.continued > 0 {
        notes.push(format!("{} continued", row.continued));
    }
    notes.join(", ")
}

/// Reads a time as people write it: how long ago, or when.
pub(super) fn read_time(flag: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    Period::parse(text)
        .map(|period| now.before(period.0))
        .or_else(|| Timestamp::parse_rfc3339(text))
        .ok_or_else(|| {
            Failure::Usage(format!(
                "{flag} {text:?} is not a time: write 30m, 12h, 7d or 2026-01-31T12:00:00Z"
            ))
        })
}
