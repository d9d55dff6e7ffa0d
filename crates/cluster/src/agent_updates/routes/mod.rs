//! HTTP of updates of agents. For administrators of the platform.

mod body;
mod change;
mod read;
mod releases;
mod start;

use axum::extract::FromRef;
use identity::{Admin, Identity};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AgentUpdates;
use super::operations::By;

impl FromRef<AgentUpdates> for Identity {
    fn from_ref(updates: &AgentUpdates) -> Self {
        updates.inner.deps.identity.clone()
    }
}

fn by(admin: &Admin) -> By {
    By {
        actor: admin.actor(),
        name: admin.principal().name.to_string(),
    }
}

impl AgentUpdates {
    /// Returns the routes of releases and roll-outs to agents, with their descriptions.
    pub fn routes(&self) -> OpenApiRouter<()> {
        OpenApiRouter::new()
            .routes(routes!(
                releases::list_agent_releases,
                releases::announce_agent_release
            ))
            .routes(routes!(releases::remove_agent_release))
            .routes(routes!(releases::upload_agent_release))
            .routes(routes!(
                read::list_agent_rollouts,
                start::start_agent_rollout
            ))
            .routes(routes!(read::show_agent_rollout))
            .routes(routes!(change::pause_agent_rollout))
            .routes(routes!(change::resume_agent_rollout))
            .routes(routes!(change::abort_agent_rollout))
            .with_state(self.clone())
    }
}
