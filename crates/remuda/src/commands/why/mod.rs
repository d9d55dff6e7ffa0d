//! `remuda why`: one request told as a story.

mod attempt;

use clap::Args;
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::context::Context;
use super::failure::Failure;
use super::requests::outcome_tone;
use crate::client::{Api, query};
use crate::output::{Output, Tone, ago, millis_from_micros, rounded, second, wrapped};

use attempt::{Attempt, Setting};

/// Characters of a whole id.
const WHOLE_ID: usize = 36;

/// The fewest characters that name a request.
const SHORTEST: usize = 4;

/// Explains one request: which nodes could have taken it, what was expected of each, every attempt, and where the time went.
#[derive(Debug, Args)]
#[command(
    after_long_help = "The id is in the answer's `x-request-id` header and in `remuda requests`.

Examples:
  remuda why 01990b2e-7c1a-7d3e-9f00-2b7c6a1d4e5f
  remuda why 2b7c6a1d4e5f
  remuda why last
  remuda why last --json | jq '.attempts[].candidates[] | {node, score}'"
)]
pub(super) struct Why {
    /// The request's id, the end of it, or `last` for the latest one.
    id: String,
}

/// A record as the API gives it.
#[derive(Deserialize)]
struct Record {
    id: String,
    received_at: Timestamp,
    caller_kind: String,
    caller: String,
    client_address: Option<String>,
    operation: String,
    requested_model: Option<String>,
    model: Option<String>,
    node: Option<String>,
    status: i64,
    outcome: String,
    error: Option<String>,
    stream: bool,
    continued: i64,
    queue_us: i64,
    first_token_us: Option<i64>,
    total_us: i64,
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    policy: Option<String>,
    #[serde(default)]
    attempts: Option<Vec<Attempt>>,
    split: Option<Split>,
}

/// What a split chose.
#[derive(Deserialize)]
struct Split {
    name: String,
    chosen: String,
    rollout: Option<RolloutChoice>,
}

#[derive(Deserialize)]
struct RolloutChoice {
    id: String,
    version: String,
    stage: Option<u32>,
    share_percent: f64,
}

impl Split {
    /// Says what the split chose, and what came of it.
    fn told(&self, served: Option<&str>) -> String {
        let by = match &self.rollout {
            None => format!("The configuration's split of {}", self.name),
            Some(rollout) => {
                let stage = rollout.stage.map_or(String::new(), |stage| {
                    format!(
                        "stage {}, {} % of the callers get the new version; ",
                        stage + 1,
                        rollout.share_percent
                    )
                });
                format!("The roll-out of {} ({stage}{})", self.name, rollout.id)
            }
        };
        let version = self.rollout.as_ref();
        let version = version.map_or(String::new(), |rollout| {
            format!(", the {} version", rollout.version)
        });
        let instead = match served {
            Some(served) if served != self.chosen => {
                format!(" No node could serve that, so {served} did.")
            }
            _ => String::new(),
        };
        format!("{by} chose {}{version}.{instead}", self.chosen)
    }
}

impl Why {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = self.id.to_ascii_lowercase();
        if id != "last" && !is_id(&id) {
            return Err(Failure::Usage(format!(
                "{:?} is not the id of a request: give it whole, as 01990b2e-7c1a-7d3e-9f00-2b7c6a1d4e5f, at least {SHORTEST} \
                 characters of its end, or `last`",
                self.id
            )));
        }
        let api = context.api()?;
        let id = find(&api, &id).await?;
        let record = api.get(&format!("/api/v1/inference/requests/{id}")).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&record)?);
        }
        let record: Record = api.decode(record)?;
        tell(context, &record)
    }
}

/// Returns true for an id and for the end of one. Nothing else may get into the path of a call.
fn is_id(text: &str) -> bool {
    (SHORTEST..=WHOLE_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Returns the whole id: of the latest request, of the one among the latest whose id ends so, or as it was given.
async fn find(api: &Api, id: &str) -> Result<String, Failure> {
    if id.len() >= WHOLE_ID {
        return Ok(id.to_owned());
    }
    let is_last = id == "last";
    let limit = if is_last { "1" } else { "500" };
    let path = query("/api/v1/inference/requests", &[("limit", Some(limit))]);
    let page = api.get(&path).await?;
    let items = page.get("items").and_then(Value::as_array);
    let mut matching = items
        .into_iter()
        .flatten()
        .filter_map(|item| item.get("id")?.as_str())
        .filter(|whole| is_last || whole.ends_with(id));
    match (matching.next(), matching.next()) {
        (Some(whole), None) => Ok(whole.to_owned()),
        (Some(_), Some(_)) => Err(Failure::Refused(format!(
            "several of the latest requests have an id that ends in {id}: give more of it"
        ))),
        (None, _) if is_last => Err(Failure::Refused(
            "no request has been recorded yet".to_owned(),
        )),
        (None, _) => Err(Failure::Refused(format!(
            "none of the 500 latest requests has an id that ends in {id}: give the whole id"
        ))),
    }
}

fn tell(context: &Context, record: &Record) -> Result<(), Failure> {
    let out = context.out;
    out.line(out.paint(Tone::Strong, &format!("Request {}", record.id)))?;
    let who = match record.caller_kind.as_str() {
        "key" => format!("The key {}", record.caller),
        "user" => record.caller.clone(),
        _ => "Somebody without a key".to_owned(),
    };
    let asked = record.requested_model.as_deref().unwrap_or("no model");
    let story = format!(
        "{who}{} asked for {} ({}{}) at {}, {}.",
        record
            .client_address
            .as_deref()
            .map_or(String::new(), |address| format!(" from {address}")),
        asked,
        record.operation,
        if record.stream { ", streamed" } else { "" },
        second(record.received_at),
        ago(record.received_at, context.now()),
    );
    out.paragraph("  ", 2, &story)?;
    if let Some(split) = &record.split {
        out.paragraph("  ", 2, &split.told(record.model.as_deref()))?;
    } else if let Some(model) = record
        .model
        .as_deref()
        .filter(|model| cluster::model_key(model) != cluster::model_key(asked))
    {
        out.line(format!(
            "  It was served by {model}: an alias or a fallback."
        ))?;
    }
    let setting = Setting {
        model: record.model.as_deref(),
        policy: record.policy.as_deref().unwrap_or("unknown"),
        is_cancelled: record.outcome == "cancelled",
    };
    for (index, attempt) in record.attempts.iter().flatten().enumerate() {
        attempt.tell(out, index + 1, setting)?;
    }
    tell_end(out, record)
}

fn tell_end(out: Output, record: &Record) -> Result<(), Failure> {
    let times = [
        Some(format!("waited {}", millis_from_micros(record.queue_us))),
        record
            .first_token_us
            .map(|us| format!("first token after {}", millis_from_micros(us))),
        Some(format!("{} in all", millis_from_micros(record.total_us))),
    ];
    out.line("")?;
    out.line(format!(
        "{} {} with status {}{}",
        out.paint(Tone::Strong, "Ended"),
        out.paint(outcome_tone(&record.outcome), &record.outcome),
        record.status,
        record
            .node
            .as_deref()
            .map_or(String::new(), |node| format!(" on {node}")),
    ))?;
    if let Some(error) = &record.error {
        for line in wrapped(error, 2) {
            out.line(out.paint(Tone::Bad, &format!("  {line}")))?;
        }
    }
    out.line(format!(
        "  {}",
        times.into_iter().flatten().collect::<Vec<_>>().join(", ")
    ))?;
    out.line(format!(
        "  read {} tokens, wrote {}{}",
        record.prompt_tokens.unwrap_or(0),
        record.completion_tokens.unwrap_or(0),
        speed(record),
    ))?;
    if record.continued > 0 {
        out.line(format!(
            "  the stream went on from another node {} time{}",
            record.continued,
            if record.continued == 1 { "" } else { "s" }
        ))?;
    }
    Ok(())
}

fn speed(record: &Record) -> String {
    match record.first_token_us {
        // An answer in one piece has its first token at the end, and no speed to tell.
        Some(first)
            if record.stream && record.total_us > first && record.completion_tokens > Some(1) =>
        {
            let seconds = (record.total_us - first) as f64 / 1e6;
            let tokens = record.completion_tokens.unwrap_or(1) as f64 - 1.0;
            format!(" ({} tokens/s)", rounded(tokens / seconds))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_and_their_ends_are_ids() {
        for id in [
            "01990b2e-7c1a-7d3e-9f00-2b7c6a1d4e5f",
            "2b7c6a1d4e5f",
            "4e5f",
        ] {
            assert!(is_id(id), "{id}");
        }
        let too_long = "0".repeat(WHOLE_ID + 1);
        for other in [
            "",
            "e5f",
            "../../keys",
            "4e5f?limit=1",
            "%2e%2e",
            "läst",
            &too_long,
        ] {
            assert!(!is_id(other), "{other}");
        }
    }
}
