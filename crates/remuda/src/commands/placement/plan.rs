//! `remuda placement plan` and `apply`.

use serde::Deserialize;
use serde_json::json;

use crate::commands::context::Context;
use crate::commands::failure::Failure;
use crate::output::{Columns, bytes};

#[derive(Deserialize)]
struct Plan {
    actions: Vec<Planned>,
    open: Vec<serde_json::Value>,
    unmet: Vec<Unmet>,
    drift: Vec<Drift>,
    reconciler: Reconciler,
}

#[derive(Deserialize)]
struct Planned {
    kind: String,
    model: String,
    node: String,
    from: Option<String>,
    mode: String,
    why: String,
    effect: String,
    bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Unmet {
    model: String,
    reason: String,
}

#[derive(Deserialize)]
struct Drift {
    model: String,
    files: Vec<Files>,
}

#[derive(Deserialize)]
struct Files {
    digest: String,
    nodes: Vec<String>,
}

#[derive(Deserialize)]
struct Reconciler {
    problem: Option<String>,
    window_open: bool,
}

#[derive(Deserialize)]
struct Applied {
    items: Vec<serde_json::Value>,
}

/// Shows the plan.
pub(super) async fn show(context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let found = api.get("/api/v1/placement/plan").await?;
    if context.out.is_json() {
        return Ok(context.out.json(&found)?);
    }
    let plan: Plan = api.decode(found)?;
    let mut table = Columns::new(
        ["DO", "MODEL", "NODE", "MODE", "BYTES", "WHY", "THEN"],
        "Nothing is to be done: the fleet is as it is wanted.",
    )
    .dispensing_with(&["BYTES", "MODE"]);
    for action in plan.actions {
        let what = match action.from {
            Some(from) => format!("{} from {from}", action.kind),
            None => action.kind,
        };
        table.row([
            what,
            action.model,
            action.node,
            action.mode,
            action.bytes.map_or(String::new(), bytes),
            action.why,
            action.effect,
        ]);
    }
    table.print(context.out)?;
    for unmet in plan.unmet {
        context
            .out
            .line(format!("{} cannot be had: {}", unmet.model, unmet.reason))?;
    }
    for drift in plan.drift {
        let files: Vec<String> = drift
            .files
            .iter()
            .map(|files| {
                let digest: String = files.digest.chars().take(12).collect();
                format!("{digest} on {}", files.nodes.join(", "))
            })
            .collect();
        context.out.line(format!(
            "{} has different files: {}",
            drift.model,
            files.join("; ")
        ))?;
    }
    if !plan.open.is_empty() {
        context.out.line(format!(
            "{} more are waiting or under way: `remuda placement actions` lists them",
            plan.open.len()
        ))?;
    }
    if !plan.reconciler.window_open {
        context
            .out
            .line("Models are fetched and deleted in the next maintenance window.")?;
    }
    if let Some(problem) = plan.reconciler.problem {
        context
            .out
            .line(format!("The fleet cannot be looked at: {problem}"))?;
    }
    Ok(())
}

/// Has the plan carried out.
pub(super) async fn apply(context: &Context, ids: &[String]) -> Result<(), Failure> {
    let api = context.api()?;
    let body = if ids.is_empty() {
        json!({})
    } else {
        json!({"actions": ids})
    };
    let applied = api.post("/api/v1/placement/apply", &body).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&applied)?);
    }
    let applied: Applied = api.decode(applied)?;
    Ok(context.out.line(match applied.items.len() {
        0 => "Nothing is to be done.".to_owned(),
        count => format!("{count} to do: `remuda placement actions` shows how far they are."),
    })?)
}
