//! HTTP of placement. For administrators of the platform.

mod actions;
mod body;
mod plan;
mod policies;

use axum::extract::FromRef;
use identity::Identity;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Placement;

impl FromRef<Placement> for Identity {
    fn from_ref(placement: &Placement) -> Self {
        placement.inner.deps.identity.clone()
    }
}

impl Placement {
    /// Returns the routes of placement, with their descriptions.
    pub fn routes(&self) -> OpenApiRouter<()> {
        OpenApiRouter::new()
            .routes(routes!(policies::list_placement_policies))
            .routes(routes!(
                policies::show_placement_policy,
                policies::put_placement_policy,
                policies::remove_placement_policy
            ))
            .routes(routes!(plan::show_placement_plan))
            .routes(routes!(plan::apply_placement_plan))
            .routes(routes!(actions::list_placement_actions))
            .routes(routes!(actions::cancel_placement_action))
            .with_state(self.clone())
    }
}
