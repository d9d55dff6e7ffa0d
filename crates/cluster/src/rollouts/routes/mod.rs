//! HTTP of roll-outs. For administrators of the platform.

mod body;
mod change;
mod read;
mod start;

use axum::extract::FromRef;
use identity::{Admin, Identity};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Rollouts;
use super::operations::By;

impl FromRef<Rollouts> for Identity {
    fn from_ref(rollouts: &Rollouts) -> Self {
        rollouts.inner.deps.identity.clone()
    }
}

fn by(admin: &Admin) -> By {
    By {
        actor: admin.actor(),
        name: admin.principal().name.to_string(),
    }
}

impl Rollouts {
    /// Returns the routes of roll-outs, with their descriptions.
    pub fn routes(&self) -> OpenApiRouter<()> {
        OpenApiRouter::new()
            .routes(routes!(read::list_rollouts, start::start_rollout))
            .routes(routes!(read::show_rollout))
            .routes(routes!(change::promote_rollout))
            .routes(routes!(change::pause_rollout))
            .routes(routes!(change::resume_rollout))
            .routes(routes!(change::abort_rollout))
            .routes(routes!(change::close_rollout))
            .with_state(self.clone())
    }
}
