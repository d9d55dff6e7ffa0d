//! `remuda agent-rollout`: a later version for agents, one first.

use clap::{Args, Subcommand};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use super::id_path::id_path;
use crate::config::Period;
use crate::output::{Columns, Tone, ago};

const ROLLOUTS: &str = "/api/v1/agent-rollouts";
/// The newest one.
const LATEST: &str = "latest";

/// Gives agents a later version: one first, then more; an agent that fails with it goes back by itself, and nobody else is asked.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda agent-rollout start 0.2.0
  remuda agent-rollout start 0.2.0 --stages node,10,50,100 --hold 1h --patience 30m
  remuda agent-rollout show       how each agent stands, and what it waits for
  remuda agent-rollout pause      no further agent is asked
  remuda agent-rollout resume
  remuda agent-rollout abort      agents that have the version keep it")]
pub(super) struct AgentRollout {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start to give a version to agents.
    Start(Start),
    /// List roll-outs to agents, the newest first.
    #[command(visible_alias = "ls")]
    List,
    /// Show one, the newest unless named: how each agent stands, and what it waits for.
    Show(Named),
    /// Ask no further agent until it is resumed.
    Pause(Named),
    /// Let it go on.
    Resume(Named),
    /// End it. Agents that have the version keep it.
    Abort(Named),
}

#[derive(Debug, Args)]
struct Start {
    /// The version of releases that were uploaded.
    #[arg(id = "agent_version", value_name = "VERSION")]
    version: String,
    /// Its stages: `node` (one agent), then percent of the agents, which rise to 100.
    #[arg(long, value_delimiter = ',', default_value = "node,10,100")]
    stages: Vec<String>,
    /// How long all agents of a stage are to be linked with the version before the next one begins.
    #[arg(long, default_value = "5m", value_parser = seconds)]
    hold: u64,
    /// How long an agent may take to be linked with it, 10 s to a day.
    #[arg(long, default_value = "15m", value_parser = seconds)]
    patience: u64,
}

#[derive(Debug, Args)]
struct Named {
    /// Its id.
    #[arg(default_value = LATEST)]
    rollout: String,
}

fn seconds(text: &str) -> Result<u64, String> {
    let period = Period::parse(text).ok_or("write it as 30s, 10m or 2h")?;
    Ok(period.0.as_secs())
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    version: String,
    state: String,
    stage: String,
    stage_number: u32,
    stages: Vec<String>,
    waits_for: Option<String>,
    reason: Option<String>,
    agents: Vec<AgentRow>,
    changed_by: String,
    updated_at: Timestamp,
}

#[derive(Deserialize)]
struct AgentRow {
    node: String,
    standing: String,
    stage: Option<u32>,
    reason: Option<String>,
}

impl Row {
    fn tone(&self) -> Tone {
        match self.state.as_str() {
            "failed" => Tone::Bad,
            "done" => Tone::Good,
            _ => Tone::Faint,
        }
    }

    fn stage(&self) -> String {
        let stage = match self.stage.as_str() {
            "node" => "one agent".to_owned(),
            "100" => "all".to_owned(),
            percent => format!("{percent} %"),
        };
        format!("{stage} ({} of {})", self.stage_number, self.stages.len())
    }
}

impl AgentRollout {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Start(start) => {
                let body = json!({
                    "version": start.version, "stages": start.stages, "hold_seconds": start.hold,
                    "patience_seconds": start.patience,
                });
                let started = context.api()?.post(ROLLOUTS, &body).await?;
                tell(context, started)
            }
            Action::List => list(context).await,
            Action::Show(named) => {
                let found = context.api()?.get(&path(&named.rollout)?).await?;
                tell(context, found)
            }
            Action::Pause(named) => change(context, &named.rollout, "pause").await,
            Action::Resume(named) => change(context, &named.rollout, "resume").await,
            Action::Abort(named) => change(context, &named.rollout, "abort").await,
        }
    }
}

fn path(rollout: &str) -> Result<String, Failure> {
    id_path(
        ROLLOUTS,
        rollout,
        "a roll-out to agents",
        "remuda agent-rollout list",
    )
}

async fn change(context: &Context, rollout: &str, verb: &str) -> Result<(), Failure> {
    let path = format!("{}/{verb}", path(rollout)?);
    let changed = context.api()?.poke(&path).await?;
    tell(context, changed)
}

async fn list(context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let found = api.get(ROLLOUTS).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&found)?);
    }
    let mut table = Columns::new(
        ["ID", "VERSION", "STATE", "STAGE", "CHANGED", "WHY"],
        "No version was given to agents yet: start with `remuda agent-rollout start VERSION`.",
    )
    .dispensing_with(&["CHANGED"]);
    for row in api.decode::<Page>(found)?.items {
        table.row_marked(
            2,
            row.tone(),
            [
                row.id.clone(),
                row.version.clone(),
                row.state.clone(),
                row.stage(),
                ago(row.updated_at, context.now()),
                row.reason.or(row.waits_for).unwrap_or_default(),
            ],
        );
    }
    Ok(table.print(context.out)?)
}

/// Tells of a roll-out as the server has answered it.
fn tell(context: &Context, answered: Value) -> Result<(), Failure> {
    let out = context.out;
    if out.is_json() {
        return Ok(out.json(&answered)?);
    }
    let row: Row = context.api()?.decode(answered)?;
    out.line(out.paint(Tone::Strong, &format!("agents to {}", row.version)))?;
    out.line(format!(
        "  {}, changed {} by {} ({})",
        out.paint(row.tone(), &row.state),
        ago(row.updated_at, context.now()),
        row.changed_by,
        row.id
    ))?;
    out.line(format!("  stage: {}", row.stage()))?;
    for text in [
        row.reason.clone(),
        row.waits_for
            .as_ref()
            .map(|waits| format!("waits: {waits}")),
    ]
    .into_iter()
    .flatten()
    {
        out.paragraph("  ", 2, &format!("{text}."))?;
    }
    let mut table = Columns::new(
        ["NODE", "STANDING", "STAGE", "WHY"],
        "No node has an agent: invite one with `remuda node invite NAME`.",
    );
    for agent in row.agents {
        let tone = match agent.standing.as_str() {
            "updated" => Tone::Good,
            "failed" => Tone::Bad,
            _ => Tone::Faint,
        };
        table.row_marked(
            1,
            tone,
            [
                agent.node,
                agent.standing.replace('_', " "),
                agent
                    .stage
                    .map_or_else(String::new, |stage| stage.to_string()),
                agent.reason.unwrap_or_default(),
            ],
        );
    }
    Ok(table.print(out)?)
}
