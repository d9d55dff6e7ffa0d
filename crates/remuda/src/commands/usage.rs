//! `remuda usage`: what came of requests, by the hour, day or week.

use clap::{Args, ValueEnum};
use primitives::Timestamp;
use serde::Deserialize;

use super::context::Context;
use super::failure::Failure;
use super::requests::read_time;
use crate::client::query;
use crate::output::{Columns, millis_from_micros, minute};

/// Shows what came of requests: how many, how they ended, their tokens, how long they took.
///
/// Times are UTC. The counts are kept longer than the requests that `remuda requests` lists.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda usage
  remuda usage --by model --since 7d
  remuda usage --span hour --node gpu1
  remuda usage --span week --by model,node
  remuda usage --json | jq '[.items[].completion_tokens] | add'")]
pub(super) struct Usage {
    /// What is counted together.
    #[arg(long, value_enum, default_value_t = SpanName::Day)]
    span: SpanName,
    /// What is told apart.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    by: Vec<Part>,
    /// Since this long ago (12h, 7d) or this time (RFC 3339); the last 48 hours, 30 days or 12 weeks unless given.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until this long ago or this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this model.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Only this node.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Only this operation, as `chat`.
    #[arg(long, value_name = "OPERATION")]
    operation: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SpanName {
    Hour,
    Day,
    Week,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Part {
    Model,
    Node,
    Operation,
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Node => "node",
            Self::Operation => "operation",
        }
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    starts_at: Timestamp,
    model: Option<String>,
    node: Option<String>,
    operation: Option<String>,
    requests: u64,
    ok: u64,
    cancelled: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    first_token_p50_us: Option<i64>,
    first_token_p99_us: Option<i64>,
    total_p50_us: i64,
}

impl Usage {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let now = context.now();
        let time = |flag: &'static str, text: &Option<String>| {
            let text = text.as_deref();
            text.map(|text| read_time(flag, text, now).map(Timestamp::to_rfc3339))
                .transpose()
        };
        let (since, until) = (time("--since", &self.since)?, time("--until", &self.until)?);
        let by: Vec<_> = self.by.iter().map(|part| part.as_str()).collect();
        let by = by.join(",");
        let span = match self.span {
            SpanName::Hour => "hour",
            SpanName::Day => "day",
            SpanName::Week => "week",
        };
        let path = query(
            "/api/v1/statistics/requests",
            &[
                ("span", Some(span)),
                ("by", Some(&*by).filter(|by| !by.is_empty())),
                ("since", since.as_deref()),
                ("until", until.as_deref()),
                ("model", self.model.as_deref()),
                ("node", self.node.as_deref()),
                ("operation", self.operation.as_deref()),
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
                "FROM",
                "MODEL",
                "NODE",
                "OPERATION",
                "REQUESTS",
                "NOT OK",
                "TOKENS IN",
                "TOKENS OUT",
                "FIRST P50",
                "FIRST P99",
                "TOTAL P50",
            ],
            "No requests in that time: counts appear some seconds after a request's end.",
        )
        .dispensing_with(&["TOTAL P50", "FIRST P50", "TOKENS IN"]);
        for row in page.items {
            let of = |name: Option<String>| match name {
                Some(name) if name.is_empty() => "-".to_owned(),
                Some(name) => name,
                None => "all".to_owned(),
            };
            let time = |us: Option<i64>| us.map_or_else(|| "-".to_owned(), millis_from_micros);
            table.row([
                minute(row.starts_at),
                of(row.model),
                of(row.node),
                of(row.operation),
                row.requests.to_string(),
                (row.requests.saturating_sub(row.ok + row.cancelled)).to_string(),
                row.prompt_tokens.to_string(),
                row.completion_tokens.to_string(),
                time(row.first_token_p50_us),
                time(row.first_token_p99_us),
                millis_from_micros(row.total_p50_us),
            ]);
        }
        Ok(table.print(context.out)?)
    }
}
