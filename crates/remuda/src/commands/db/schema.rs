//! The schema of the configured database, without a server.

use serde_json::json;
use store::{Step, StepState};

use crate::commands::context::Context;
use crate::commands::failure::Failure;
use crate::commands::start_args::{StartArgs, configured};
use crate::output::{Columns, Tone};
use crate::start::DataDir;
use crate::start::opened::Opened;

pub(super) async fn status(context: &Context, start: StartArgs) -> Result<(), Failure> {
    let opened = Opened::existing(configured(context, start)?).await?;
    let steps = opened.steps().await?;
    opened.db.close().await;
    show(context, &steps)
}

pub(super) async fn check(context: &Context, start: StartArgs) -> Result<(), Failure> {
    let opened = Opened::existing(configured(context, start)?).await?;
    let steps = opened.steps().await?;
    opened.db.close().await;
    let count = |state| steps.iter().filter(|step| step.state == state).count();
    let (missing, changed, newer) = (
        count(StepState::Missing),
        count(StepState::Changed),
        count(StepState::Newer),
    );
    if missing + changed + newer == 0 {
        if context.out.is_json() {
            return Ok(context.out.json(&json!({"current": true}))?);
        }
        return Ok(context
            .out
            .line("The database has exactly this build's schema.")?);
    }
    let advice = match (changed, newer) {
        (0, 0) => "run `remuda db migrate`",
        (0, _) => "a newer build has used it: start that one",
        _ => "start the build that made it",
    };
    Err(Failure::Refused(format!(
        "the schema is another one ({missing} steps missing, {changed} changed, {newer} of a newer build): {advice}"
    )))
}

pub(super) async fn migrate(context: &Context, start: StartArgs) -> Result<(), Failure> {
    let config = configured(context, start)?;
    let data_dir = DataDir::acquire(&Opened::data_dir(&config)?)?;
    let opened = Opened::open(config, data_dir.path()).await?;
    let applied = opened.migrate().await?;
    opened.db.close().await;
    if context.out.is_json() {
        let body = json!({"version": applied.version, "applied": applied.steps});
        return Ok(context.out.json(&body)?);
    }
    let told = match applied.steps.as_slice() {
        [] => format!("The schema is at version {} already.", applied.version),
        steps => format!(
            "Applied {}; the schema is at version {}.",
            steps.join(", "),
            applied.version
        ),
    };
    Ok(context.out.line(told)?)
}

fn show(context: &Context, steps: &[Step]) -> Result<(), Failure> {
    let state = |step: &Step| match step.state {
        StepState::Applied => ("applied", Tone::Good),
        StepState::Missing => ("missing", Tone::Warning),
        StepState::Changed => ("changed since it was applied", Tone::Bad),
        StepState::Newer => ("of a newer build", Tone::Bad),
    };
    if context.out.is_json() {
        let all: Vec<_> = steps
            .iter()
            .map(|step| json!({"version": step.version, "name": step.name, "state": state(step).0}))
            .collect();
        return Ok(context.out.json(&all)?);
    }
    let mut table = Columns::new(["STEP", "STATE"], "No steps.");
    for step in steps {
        let (text, tone) = state(step);
        table.row_marked(1, tone, [step.name.clone(), text.to_owned()]);
    }
    Ok(table.print(context.out)?)
}
