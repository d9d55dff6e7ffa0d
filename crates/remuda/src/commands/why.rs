//! `remuda why`: one request told as a story.

use clap::Args;
use primitives::Timestamp;
use serde::Deserialize;

use super::context::Context;
use super::failure::Failure;
use super::requests::outcome_tone;
use crate::client::query;
use crate::output::{Output, Tone, millis_from_micros, rounded};

/// Explains one request: the candidates with their scores and reasons, every attempt, and where the time went.
#[derive(Debug, Args)]
#[command(
    after_long_help = "The id is in the answer's `x-request-id` header and in `remuda requests`.

Examples:
  remuda why 01990b2e-7c1a-7d3e-9f00-2b7c6a1d4e5f
  remuda why last"
)]
pub(super) struct Why {
    /// The request's id, or `last` for the latest one.
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
}

#[derive(Deserialize)]
struct Attempt {
    node: Option<String>,
    model: Option<String>,
    #[serde(default)]
    started_us: i64,
    took_us: Option<i64>,
    failure: Option<String>,
    #[serde(default)]
    continued_after_tokens: i64,
    #[serde(default)]
    candidates: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Candidate {
    node: String,
    score: Option<f64>,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Why {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let id = if self.id == "last" {
            let path = query("/api/v1/inference/requests", &[("limit", Some("1"))]);
            api.get(&path)
                .await?
                .pointer("/items/0/id")
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| Failure::Refused("no request has been recorded yet".to_owned()))?
        } else {
            self.id
        };
        let record = api.get(&format!("/api/v1/inference/requests/{id}")).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&record)?);
        }
        let record: Record = api.decode(record)?;
        tell(context.out, &record)
    }
}

fn tell(out: Output, record: &Record) -> Result<(), Failure> {
    out.line(out.paint(Tone::Strong, &format!("Request {}", record.id)))?;
    let who = match record.caller_kind.as_str() {
        "key" => format!("The key {}", record.caller),
        "user" => record.caller.clone(),
        _ => "Somebody without a key".to_owned(),
    };
    let asked = record.requested_model.as_deref().unwrap_or("no model");
    out.line(format!(
        "  {who}{} asked for {} ({}{}) at {}.",
        record
            .client_address
            .as_deref()
            .map_or(String::new(), |address| format!(" from {address}")),
        asked,
        record.operation,
        if record.stream { ", streamed" } else { "" },
        record.received_at,
    ))?;
    if let Some(model) = record
        .model
        .as_deref()
        .filter(|model| cluster::model_key(model) != cluster::model_key(asked))
    {
        out.line(format!(
            "  It was served by {model}: an alias or a fallback."
        ))?;
    }
    for (index, attempt) in record.attempts.iter().flatten().enumerate() {
        tell_attempt(out, record, index, attempt)?;
    }
    tell_end(out, record)
}

fn tell_attempt(
    out: Output,
    record: &Record,
    index: usize,
    attempt: &Attempt,
) -> Result<(), Failure> {
    let heading = match (attempt.node.as_deref(), attempt.continued_after_tokens) {
        (None, _) => format!("{}. No node could be chosen", index + 1),
        (Some(node), 0) => format!("{}. Sent to {node}", index + 1),
        (Some(node), tokens) => {
            format!("{}. Continued on {node} after {tokens} tokens", index + 1)
        }
    };
    let model = attempt
        .model
        .as_deref()
        .filter(|model| Some(*model) != record.model.as_deref())
        .map_or(String::new(), |model| format!(" as {model}"));
    out.line("")?;
    out.line(format!(
        "{}{model}, {} after arrival (policy {})",
        out.paint(Tone::Strong, &heading),
        millis_from_micros(attempt.started_us),
        record.policy.as_deref().unwrap_or("unknown"),
    ))?;
    let mut candidates: Vec<&Candidate> = attempt.candidates.iter().collect();
    candidates.sort_by(|a, b| {
        let key = |candidate: &Candidate| candidate.score.unwrap_or(f64::NEG_INFINITY);
        key(b).total_cmp(&key(a))
    });
    for candidate in candidates {
        let is_chosen = Some(candidate.node.as_str()) == attempt.node.as_deref();
        let score = match candidate.score {
            Some(score) => format!("score {}", rounded(score)),
            None => "not eligible".to_owned(),
        };
        let line = format!(
            "   {} {:<20} {score:<16} {}",
            if is_chosen { "→" } else { " " },
            candidate.node,
            candidate.reasons.join("; ")
        );
        let tone = match (is_chosen, candidate.score) {
            (true, _) => Tone::Good,
            (false, None) => Tone::Faint,
            (false, Some(_)) => Tone::Warning,
        };
        out.line(if is_chosen || candidate.score.is_none() {
            out.paint(tone, line.trim_end())
        } else {
            line.trim_end().to_owned()
        })?;
    }
    if let Some(failure) = &attempt.failure {
        let after = attempt.took_us.map_or(String::new(), |took| {
            format!(" after {}", millis_from_micros(took))
        });
        let (tone, what) = if record.outcome == "cancelled" {
            (Tone::Faint, "stopped")
        } else {
            (Tone::Bad, "failed")
        };
        out.line(out.paint(tone, &format!("   {what}{after}: {failure}")))?;
    }
    Ok(())
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
        out.line(out.paint(Tone::Bad, &format!("  {error}")))?;
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
        Some(first) if record.total_us > first && record.completion_tokens > Some(1) => {
            let seconds = (record.total_us - first) as f64 / 1e6;
            let tokens = record.completion_tokens.unwrap_or(1) as f64 - 1.0;
            format!(" ({} tokens/s)", rounded(tokens / seconds))
        }
        _ => String::new(),
    }
}
