//! `remuda audit`: who changed what.

use clap::{Args, Subcommand, ValueEnum};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::context::Context;
use super::failure::Failure;
use crate::client::query;
use crate::config::Period;
use crate::output::{Columns, minute};

/// Lists, exports and verifies the records of changes.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda audit list --since 7d
  remuda audit list --action key.create
  remuda audit export --format csv > changes.csv
  remuda audit verify")]
pub(super) struct Audit {
    #[command(subcommand)]
    action: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List changes, the newest first.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many to show.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// Write all changes to standard output, the newest first.
    Export {
        #[command(flatten)]
        filter: Filter,
        /// How.
        #[arg(long, value_enum, default_value = "jsonl")]
        format: Format,
    },
    /// Prove that no record was changed or removed, and name the first that was.
    Verify,
}

#[derive(Debug, Args)]
struct Filter {
    /// Only this kind of change, as key.create or user.edit.
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only changes by the person or key of this id.
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only changes of the thing of this id.
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Only changes of this last time, as 7d or 12h.
    #[arg(long, value_name = "TIME", value_parser = super::key::read_period)]
    since: Option<Period>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// One JSON object a line.
    Jsonl,
    /// A table with a head line.
    Csv,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Map<String, Value>>,
    next_cursor: Option<String>,
}

/// The columns of an export.
const COLUMNS: [&str; 13] = [
    "seq",
    "at",
    "action",
    "actor_kind",
    "actor_id",
    "actor_name",
    "org_id",
    "subject_kind",
    "subject_id",
    "ip",
    "user_agent",
    "old",
    "new",
];

impl Audit {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Command::List { filter, limit } => list(context, &filter, limit).await,
            Command::Export { filter, format } => export(context, &filter, format).await,
            Command::Verify => verify(context).await,
        }
    }
}

impl Filter {
    fn path(&self, now: Timestamp, limit: u32, cursor: Option<&str>) -> String {
        let limit = limit.to_string();
        let since = self.since.map(|period| now.before(period.0).to_rfc3339());
        query(
            "/api/v1/audit",
            &[
                ("limit", Some(&limit)),
                ("cursor", cursor),
                ("action", self.action.as_deref()),
                ("actor_id", self.actor.as_deref()),
                ("subject_id", self.subject.as_deref()),
                ("since", since.as_deref()),
            ],
        )
    }
}

async fn list(context: &Context, filter: &Filter, limit: u32) -> Result<(), Failure> {
    let api = context.api()?;
    let page = api.get(&filter.path(context.now(), limit, None)).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&page)?);
    }
    let mut table = Columns::new(
        ["NUMBER", "WHEN", "WHO", "FROM", "DID", "TO"],
        "No changes.",
    )
    .dispensing_with(&["FROM", "NUMBER"]);
    for record in api.decode::<Page>(page)?.items {
        let text = |field: &str| cell(record.get(field));
        let when = Timestamp::parse_rfc3339(&text("at")).map_or_else(|| text("at"), minute);
        table.row([
            text("seq"),
            when,
            text("actor_name"),
            text("ip"),
            text("action"),
            subject(&record),
        ]);
    }
    Ok(table.print(context.out)?)
}

/// Names what was changed: by its name, else by its id.
fn subject(record: &Map<String, Value>) -> String {
    let named = ["new", "old"].iter().find_map(|state| {
        let state = record.get(*state)?;
        let name = state.get("username").or_else(|| state.get("name"))?;
        name.as_str().map(str::to_owned)
    });
    named.unwrap_or_else(|| cell(record.get("subject_id")))
}

async fn export(context: &Context, filter: &Filter, format: Format) -> Result<(), Failure> {
    let api = context.api()?;
    let now = context.now();
    if matches!(format, Format::Csv) {
        context.out.line(COLUMNS.join(","))?;
    }
    let mut cursor: Option<String> = None;
    loop {
        let page = api.get(&filter.path(now, 500, cursor.as_deref())).await?;
        let page: Page = api.decode(page)?;
        for record in &page.items {
            match format {
                Format::Jsonl => context.out.line(json!(record).to_string())?,
                Format::Csv => context.out.line(csv(record))?,
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Writes a record as a line of RFC 4180. A cell that a spreadsheet would take for a formula begins with an apostrophe.
fn csv(record: &Map<String, Value>) -> String {
    let cells = COLUMNS.iter().map(|column| {
        let mut text = cell(record.get(*column));
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            text.insert(0, '\'');
        }
        if text.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text
        }
    });
    cells.collect::<Vec<_>>().join(",")
}

async fn verify(context: &Context) -> Result<(), Failure> {
    let state = context.api()?.get("/api/v1/audit/verify").await?;
    let broken = state.get("broken");
    if context.out.is_json() {
        context.out.json(&state)?;
    } else if broken.is_none() {
        context.out.line(format!(
            "Every record is as it was written: {} of them.",
            cell(state.get("verified"))
        ))?;
    }
    match broken {
        Some(broken) => Err(Failure::Refused(format!(
            "record {} is not as it was written: {}; compare with a backup",
            cell(broken.get("seq")),
            cell(broken.get("reason"))
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_their_text_and_start_no_formula() {
        let record = json!({"seq": 1, "actor_name": "=cmd()", "action": "a,b", "new": {"name": "say \"hi\""}});
        let line = csv(record.as_object().unwrap());
        assert_eq!(
            line,
            r#"1,,"a,b",,,'=cmd(),,,,,,,"{""name"":""say \""hi\""""}""#
        );
    }
}
