//! Roll-outs of new versions of models: decided by one process of all, by what the data planes of all see.

use std::sync::Arc;
use std::time::Duration;

use cluster::{
    ConfiguredNames, Registry, RolloutAnswer, Rollouts, RolloutsConfig, RolloutsDeps, model_key,
};
use gateway::{EndObserver, Outcome, RequestRecord};
use identity::Identity;
use jobs::Jobs;
use primitives::Clock;
use store::Db;

use super::error::StartError;
use crate::config::Config;

/// The duty of deciding.
const DUTY: &str = "rollouts";

/// Makes the domain and publishes the splits that hold. Nothing is decided before it is kept.
pub(super) async fn open(
    config: &Config,
    db: &Db,
    clock: &Arc<dyn Clock>,
    identity: &Identity,
    registry: &Registry,
    jobs: &Jobs,
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
    Rollouts::open(deps, RolloutsConfig::default(), configured_names(config))
        .await
        .map_err(|error| StartError::part("roll-outs", &error))
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

/// Has each request that has ended told to roll-outs, and then to the next observer.
pub(super) fn observer(rollouts: Rollouts, next: EndObserver) -> EndObserver {
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
