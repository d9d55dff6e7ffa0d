//! Updates of agents: asked for by one process of all.

use std::sync::Arc;

use cluster::{AgentUpdates, AgentUpdatesConfig, AgentUpdatesDeps, Registry};
use identity::Identity;
use jobs::Jobs;
use primitives::Clock;
use store::Db;
use tokio_util::sync::CancellationToken;

use super::tasks::Tasks;

/// The duty of asking agents.
const DUTY: &str = "agent_updates";

/// Makes the domain, and has it kept until `stop`.
pub(super) fn open(
    db: &Db,
    clock: &Arc<dyn Clock>,
    (identity, registry, jobs): (&Identity, &Registry, &Jobs),
    (tasks, stop): (&Tasks, &CancellationToken),
) -> AgentUpdates {
    let jobs = jobs.clone();
    let deps = AgentUpdatesDeps {
        registry: registry.clone(),
        db: db.clone(),
        clock: Arc::clone(clock),
        identity: identity.clone(),
        duty: Arc::new(move || {
            let jobs = jobs.clone();
            Box::pin(async move { jobs.take_duty(DUTY).await })
        }),
    };
    let updates = AgentUpdates::new(deps, AgentUpdatesConfig::default());
    tasks.spawn("agent updates", updates.clone().keep(stop.clone()));
    updates
}
