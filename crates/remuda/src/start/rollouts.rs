//! Roll-outs of new versions of models: decided by one process of all, by what the data planes of all see.

use std::sync::Arc;
use std::time::Duration;

use cluster::{
    ConfiguredNames, Placement, Registry, RolloutAnswer, Rollouts, RolloutsConfig, RolloutsDeps,
    model_key,
};
use gateway::{EndObserver, Outcome, RequestRecord};
use identity::Identity;
use jobs::Jobs;
use primitives::Clock;
use realtime::Hub;
use store::Db;
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use super::tasks::Tasks;
use crate::config::Config;

/// The duty of deciding.
const DUTY: &str = "rollouts";

/// Makes the domain, publishes the splits that hold, and has it kept until `stop`.
pub(super) async fn open(
    config: &Config,
    db: &Db,
    clock: &Arc<dyn Clock>,
    (identity, registry, jobs): (&Identity, &Registry, &Jobs),
    (tasks, stop): (&Tasks, &CancellationToken),
) -> Result<Rollouts, StartError> {
    let jobs = jobs.clone();
    let deps = RolloutsDeps {
        registry: registry.clone(),
        db: db.clone(),
        clock: Arc::clone(clock),
        identity: identity.clone(),
        duty: Arc::new(move || {
            let jobs = jobs.clone();
            Box::pin(async move { jobs.take_duty(DUTY).await })
        }),
    };
    let rollouts = Rollouts::open(deps, RolloutsConfig::default(), configured_names(config))
        .await
        .map_err(|error| StartError::part("roll-outs", &error))?;
    tasks.spawn("rollouts", rollouts.clone().keep(stop.clone()));
    Ok(rollouts)
}

/// Returns the names of models that the configuration decides about.
pub(super) fn configured_names(config: &Config) -> ConfiguredNames {
    let key = |name: &String| model_key(name).into_owned();
    let aliases = config.aliases.iter();
    let mut names = ConfiguredNames {
        aliases: aliases
            .map(|(alias, model)| (key(alias), model.clone()))
            .collect(),
        ..ConfiguredNames::default()
    };
    for (name, section) in &config.models {
        let aliases = section.aliases.iter();
        names
            .aliases
            .extend(aliases.map(|alias| (key(alias), name.clone())));
        if !section.split.is_empty() {
            names.splits.insert(key(name));
        }
    }
    names
}

/// Has each request that has ended told to roll-outs, then to placement and the hub.
pub(super) fn observer(rollouts: &Rollouts, placement: Placement, hub: &Hub) -> EndObserver {
    let rollouts = rollouts.clone();
    let next = super::placement::observer(placement, hub.clone());
    Arc::new(move |record| {
        note(&rollouts, record);
        next(record);
    })
}

fn note(rollouts: &Rollouts, record: &RequestRecord) {
    let Some(split) = &record.split else { return };
    let Some(choice) = split.rollout else { return };
    // Where no node could serve the version another one did, which tells nothing of it.
    if record.model.as_ref() != Some(&split.chosen) {
        return;
    }
    let has_failed = match record.outcome {
        Outcome::Ok => false,
        Outcome::Failed | Outcome::Truncated => true,
        Outcome::ClientError | Outcome::Rejected | Outcome::Cancelled => return,
    };
    let answer = RolloutAnswer {
        id: record.id,
        received_at: record.received_at,
        has_failed,
        first_token: record.first_token_us.map(Duration::from_micros),
    };
    rollouts.note(choice, &answer);
}
