//! `remuda jobs`: answers that are made in the background.

mod engine;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::id_path::id_path;
use crate::client::{Api, ChatCall, Event, query};
use crate::output::{Columns, Tone, ago, remark};

const JOBS: &str = "/api/v1/inference/jobs";
/// The wait before following goes on after an interruption.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);
/// Interruptions in a row, without an event between them, after which following gives up.
const MOST_INTERRUPTIONS: u32 = 60;

/// Lists, follows and calls off answers that are made in the background.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda run --background llama3.2 \"Write a long story\"
  remuda jobs list --state running
  remuda jobs follow 0198c0de-0000-7000-8000-000000000000
  remuda jobs show 0198c0de-0000-7000-8000-000000000000 --json
  remuda jobs cancel 0198c0de-0000-7000-8000-000000000000
  remuda jobs kinds
  remuda jobs pause chat
  remuda jobs dead --kind chat
  remuda jobs replay --kind chat")]
pub(super) struct Jobs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List your jobs, the newest first.
    #[command(visible_alias = "ls")]
    List(Filter),
    /// Show a job, and its answer once it is there.
    Show {
        /// The job's id.
        id: String,
    },
    /// Show a job's answer as it comes; goes on after an interruption.
    Follow {
        /// The job's id.
        id: String,
    },
    /// Call a job off, also while it runs.
    Cancel {
        /// The job's id.
        id: String,
    },
    /// Delete a job that has ended, with its answer.
    Rm {
        /// The job's id.
        id: String,
    },
    /// List the kinds of work with their figures, for administrators.
    Kinds,
    /// List the schedules of the program, for administrators.
    Schedules,
    /// List what has failed of a kind, for administrators.
    Dead {
        /// The kind, as `remuda jobs kinds` names it.
        #[arg(long, default_value = "chat")]
        kind: String,
    },
    /// Make what has failed due again, for administrators.
    Replay {
        /// The job's id; without one, the newest 500 of the kind.
        #[arg(required_unless_present = "kind", conflicts_with = "kind")]
        id: Option<String>,
        /// All of this kind.
        #[arg(long)]
        kind: Option<String>,
    },
    /// Let nothing more of a kind begin, for administrators.
    Pause {
        /// The kind.
        kind: String,
    },
    /// Let a kind go on, for administrators.
    Resume {
        /// The kind.
        kind: String,
    },
}

/// Which jobs to list.
#[derive(Debug, Args)]
struct Filter {
    /// Only those in this state.
    #[arg(long, value_enum)]
    state: Option<StateName>,
    /// Only those for this model.
    #[arg(long)]
    model: Option<String>,
    /// How many to show, 1 to 500.
    #[arg(long, default_value = "50")]
    limit: String,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum StateName {
    /// It waits.
    Queued,
    /// It is carried out.
    Running,
    /// It is done.
    Completed,
    /// It will not be done.
    Failed,
    /// It was called off.
    Cancelled,
}

impl StateName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Deserialize)]
struct JobRow {
    id: String,
    kind: String,
    model: String,
    state: String,
    attempt: u32,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
    error: Option<JobFault>,
    result: Option<Value>,
}

#[derive(Deserialize)]
struct JobFault {
    message: String,
}

impl Jobs {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        match self.action {
            Action::List(filter) => list(context, &api, &filter).await,
            Action::Show { id } => show(context, &api, &id).await,
            Action::Follow { id } => {
                tokio::select! {
                    ended = follow(context, &api, &id) => ended,
                    _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
                }
            }
            Action::Cancel { id } => {
                let job = api.poke(&format!("{}/cancel", path(&id)?)).await?;
                if context.out.is_json() {
                    return Ok(context.out.json(&job)?);
                }
                Ok(context.out.line(format!("Called off {id}."))?)
            }
            Action::Rm { id } => {
                api.delete(&path(&id)?, None).await?;
                if context.out.is_json() {
                    return Ok(context.out.json(&json!({"deleted": id}))?);
                }
                Ok(context.out.line(format!("Deleted {id}."))?)
            }
            Action::Kinds => engine::kinds(context, &api).await,
            Action::Schedules => engine::schedules(context, &api).await,
            Action::Dead { kind } => engine::dead(context, &api, &kind).await,
            Action::Replay { id, kind } => {
                engine::replay(context, &api, id.as_deref(), kind.as_deref()).await
            }
            Action::Pause { kind } => engine::set_pause(context, &api, &kind, "pause").await,
            Action::Resume { kind } => engine::set_pause(context, &api, &kind, "resume").await,
        }
    }
}

/// Has an answer made in the background and prints the job's id.
pub(super) async fn submit(context: &Context, api: &Api, call: &ChatCall) -> Result<(), Failure> {
    let job = api.post("/api/v1/inference/chat", &call.body()).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&job)?);
    }
    let job: JobRow = api.decode(job)?;
    context.out.line(&job.id)?;
    remark(&format!(
        "it will be answered; see it come with `remuda jobs follow {}`",
        job.id
    ));
    Ok(())
}

fn path(id: &str) -> Result<String, Failure> {
    id_path(JOBS, id, "a job", "remuda jobs list")
}

async fn list(context: &Context, api: &Api, filter: &Filter) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<JobRow>,
    }
    let path = query(
        JOBS,
        &[
            ("state", filter.state.map(StateName::as_str)),
            ("model", filter.model.as_deref()),
            ("limit", Some(&filter.limit)),
        ],
    );
    let page = api.get(&path).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&page)?);
    }
    let now = context.now();
    let mut table = Columns::new(
        ["STATE", "WHEN", "KIND", "MODEL", "ATTEMPT", "ID"],
        "You have no jobs (`remuda run --background MODEL QUESTION` makes one).",
    )
    .dispensing_with(&["ATTEMPT", "KIND"]);
    for job in api.decode::<Page>(page)?.items {
        let tone = tone(&job.state);
        table.row_marked(
            0,
            tone,
            [
                job.state,
                ago(job.ended_at.unwrap_or(job.created_at), now),
                job.kind,
                job.model,
                job.attempt.to_string(),
                job.id,
            ],
        );
    }
    Ok(table.print(context.out)?)
}

fn tone(state: &str) -> Tone {
    match state {
        "failed" => Tone::Bad,
        "completed" => Tone::Good,
        _ => Tone::Faint,
    }
}

async fn show(context: &Context, api: &Api, id: &str) -> Result<(), Failure> {
    let job = api.get(&path(id)?).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&job)?);
    }
    let job: JobRow = api.decode(job)?;
    let out = context.out;
    let now = context.now();
    let since = match job.ended_at {
        Some(ended) => format!("ended {}", ago(ended, now)),
        None => format!("accepted {}", ago(job.created_at, now)),
    };
    out.line(format!(
        "{}  {} with {}, attempt {}, {since}",
        out.paint(tone(&job.state), &job.state),
        job.kind,
        job.model,
        job.attempt
    ))?;
    if let Some(error) = &job.error {
        out.line(&error.message)?;
    }
    if let Some(text) = job.result.as_ref().and_then(answer) {
        out.line("")?;
        out.line(text)?;
    }
    Ok(())
}

/// Returns the text of a whole answer.
fn answer(result: &Value) -> Option<&str> {
    let text = result
        .pointer("/message/content")
        .or_else(|| result.get("response"));
    text.and_then(Value::as_str)
}

async fn follow(context: &Context, api: &Api, id: &str) -> Result<(), Failure> {
    let events = format!("{}/events", path(id)?);
    let mut after = "0".to_owned();
    let mut interruptions = 0;
    loop {
        let mut stream = match api.events(&events, &after).await {
            Ok(stream) => stream,
            // Where it has worked once, the server is expected to come back.
            Err(error)
                if after != "0" && interruptions < MOST_INTERRUPTIONS && error.is_passing() =>
            {
                interruptions += 1;
                tokio::time::sleep(CONNECT_AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        loop {
            match stream.next().await {
                Ok(Some(event)) => {
                    interruptions = 0;
                    after.clone_from(&event.id);
                    if shown(context, &event)? {
                        return Ok(());
                    }
                }
                Ok(None) => break,
                Err(error) if error.is_passing() => break,
                Err(error) => return Err(error.into()),
            }
        }
        interruptions += 1;
        if interruptions > MOST_INTERRUPTIONS {
            return Err(Failure::Refused(format!(
                "the server ends every answer at once: ask for the job with `remuda jobs show {id}`"
            )));
        }
        tokio::time::sleep(CONNECT_AGAIN).await;
    }
}

/// Shows an event. Tells whether it was the last one.
fn shown(context: &Context, event: &Event) -> Result<bool, Failure> {
    let out = context.out;
    let ends = !matches!(event.name.as_str(), "output" | "restarted");
    if out.is_json() {
        out.json(&json!({"id": event.id, "event": event.name, "data": event.data}))?;
    } else if event.name == "restarted" {
        remark("the server was lost: the answer begins anew");
        out.text("\n")?;
    }
    if out.is_json() {
        return Ok(ends);
    }
    for part in event
        .data
        .get("output")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let field = |name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default();
        match field("channel") {
            "thinking" => out.text(&out.paint(Tone::Faint, field("text")))?,
            _ => out.text(field("text"))?,
        }
    }
    if !ends {
        return Ok(false);
    }
    out.text("\n")?;
    let error = event.data.pointer("/error/message").and_then(Value::as_str);
    match event.name.as_str() {
        "completed" => Ok(true),
        "cancelled" => Err(Failure::Refused("the job was called off".to_owned())),
        _ => Err(Failure::Refused(
            error.unwrap_or("the job has failed").to_owned(),
        )),
    }
}
