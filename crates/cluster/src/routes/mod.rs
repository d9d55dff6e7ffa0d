//! HTTP of the domain: decode, call one operation, encode. For administrators only.

mod add_node;
mod body;
mod check_node;
mod drain_node;
mod edit_node;
mod invite_node;
mod list_discovered;
mod list_models;
mod list_nodes;
mod machine_body;
mod name_page;
mod remove_node;
mod show_model;
mod show_node;

use axum::extract::FromRef;
use identity::Identity;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::registry::Registry;

/// What the handlers work with.
#[derive(Clone, Debug)]
struct Surface {
    registry: Registry,
    identity: Identity,
}

impl FromRef<Surface> for Registry {
    fn from_ref(surface: &Surface) -> Self {
        surface.registry.clone()
    }
}

impl FromRef<Surface> for Identity {
    fn from_ref(surface: &Surface) -> Self {
        surface.identity.clone()
    }
}

impl Registry {
    /// Returns the routes of nodes and models, with their descriptions. `identity` tells who is an administrator.
    pub fn routes(&self, identity: &Identity) -> OpenApiRouter<()> {
        OpenApiRouter::new()
            .routes(routes!(list_nodes::list_nodes, add_node::add_node))
            .routes(routes!(check_node::check_node))
            .routes(routes!(invite_node::invite_node))
            .routes(routes!(list_discovered::list_discovered))
            .routes(routes!(
                show_node::show_node,
                edit_node::edit_node,
                remove_node::remove_node
            ))
            .routes(routes!(drain_node::drain_node))
            .routes(routes!(drain_node::undrain_node))
            .routes(routes!(list_models::list_models))
            .routes(routes!(show_model::show_model))
            .with_state(Surface {
                registry: self.clone(),
                identity: identity.clone(),
            })
    }
}
