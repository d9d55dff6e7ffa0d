//! The engine behind jobs, for administrators: kinds of work, schedules, what has failed.

use primitives::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Api, query};
use crate::commands::context::Context;
use crate::commands::failure::Failure;
use crate::commands::id_path::id_path;
use crate::output::{Columns, Tone, ago};

const KINDS: &str = "/api/v1/jobs/kinds";
const DEAD: &str = "/api/v1/jobs/dead";

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct KindRow {
    kind: String,
    paused_at: Option<Timestamp>,
    queued: u64,
    running: u64,
    dead: u64,
    oldest_due_s: u64,
    last_hour: Came,
}

#[derive(Deserialize)]
struct Came {
    completed: u64,
    failed: u64,
    retried: u64,
}

#[derive(Deserialize)]
struct DeadRow {
    id: String,
    lane: String,
    attempt: u32,
    ended_at: Timestamp,
    error: String,
}

#[derive(Deserialize)]
struct ScheduleRow {
    name: String,
    kind: String,
    cron: String,
    time_zone: String,
    next_at: Timestamp,
    last_at: Option<Timestamp>,
}

/// Lists the kinds of work with their figures.
pub(super) async fn kinds(context: &Context, api: &Api) -> Result<(), Failure> {
    let found = api.get(KINDS).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&found)?);
    }
    let mut table = Columns::new(
        [
            "KIND", "STATE", "QUEUED", "RUNNING", "DEAD", "OLDEST", "DONE/H", "FAILED/H", "AGAIN/H",
        ],
        "No kind of work is known yet.",
    )
    .dispensing_with(&["AGAIN/H", "OLDEST"]);
    for kind in api.decode::<Items<KindRow>>(found)?.items {
        let state = match kind.paused_at {
            Some(_) => "paused",
            None => "on",
        };
        let tone = if kind.paused_at.is_some() {
            Tone::Bad
        } else {
            Tone::Faint
        };
        table.row_marked(
            1,
            tone,
            [
                kind.kind,
                state.to_owned(),
                kind.queued.to_string(),
                kind.running.to_string(),
                kind.dead.to_string(),
                format!("{}s", kind.oldest_due_s),
                kind.last_hour.completed.to_string(),
                kind.last_hour.failed.to_string(),
                kind.last_hour.retried.to_string(),
            ],
        );
    }
    Ok(table.print(context.out)?)
}

/// Lists the schedules.
pub(super) async fn schedules(context: &Context, api: &Api) -> Result<(), Failure> {
    let found = api.get("/api/v1/jobs/schedules").await?;
    if context.out.is_json() {
        return Ok(context.out.json(&found)?);
    }
    let now = context.now();
    let mut table = Columns::new(
        ["NAME", "KIND", "CRON", "ZONE", "NEXT", "LAST"],
        "There are no schedules.",
    );
    for schedule in api.decode::<Items<ScheduleRow>>(found)?.items {
        table.row([
            schedule.name,
            schedule.kind,
            schedule.cron,
            schedule.time_zone,
            schedule.next_at.to_rfc3339(),
            schedule
                .last_at
                .map_or("never".to_owned(), |at| ago(at, now)),
        ]);
    }
    Ok(table.print(context.out)?)
}

/// Lists what has failed of a kind.
pub(super) async fn dead(context: &Context, api: &Api, kind: &str) -> Result<(), Failure> {
    let path = query(DEAD, &[("kind", Some(kind))]);
    let found = api.get(&path).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&found)?);
    }
    let now = context.now();
    let mut table = Columns::new(
        ["WHEN", "LANE", "ATTEMPT", "ID", "ERROR"],
        "Nothing of this kind has failed.",
    )
    .dispensing_with(&["ATTEMPT", "LANE"]);
    for job in api.decode::<Items<DeadRow>>(found)?.items {
        table.row([
            ago(job.ended_at, now),
            job.lane,
            job.attempt.to_string(),
            job.id,
            job.error,
        ]);
    }
    Ok(table.print(context.out)?)
}

/// Makes jobs due again that have failed: one, or those of a kind.
pub(super) async fn replay(
    context: &Context,
    api: &Api,
    id: Option<&str>,
    kind: Option<&str>,
) -> Result<(), Failure> {
    let replayed = match (id, kind) {
        (Some(id), _) => {
            let path = id_path(DEAD, id, "a job", "remuda jobs dead")?;
            api.poke(&format!("{path}/replay")).await?;
            json!({"replayed": 1})
        }
        (None, kind) => {
            let kind = kind.unwrap_or("chat");
            api.poke(&kind_path(kind, "replay")?).await?
        }
    };
    if context.out.is_json() {
        return Ok(context.out.json(&replayed)?);
    }
    let count = replayed
        .get("replayed")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(0);
    Ok(context.out.line(format!("{count} due again."))?)
}

/// Pauses a kind, or lets it go on.
pub(super) async fn set_pause(
    context: &Context,
    api: &Api,
    kind: &str,
    action: &str,
) -> Result<(), Failure> {
    api.poke(&kind_path(kind, action)?).await?;
    if context.out.is_json() {
        return Ok(context
            .out
            .json(&json!({"kind": kind, "paused": action == "pause"}))?);
    }
    let says = if action == "pause" {
        "is paused"
    } else {
        "goes on"
    };
    Ok(context.out.line(format!("{kind} {says}."))?)
}

fn kind_path(kind: &str, action: &str) -> Result<String, Failure> {
    let path = id_path(KINDS, kind, "a kind of work", "remuda jobs kinds")?;
    Ok(format!("{path}/{action}"))
}
