//! HTTP of the domain: decode, call one operation, encode. For administrators of the platform only.

mod config;
mod database;
mod secrets;
mod statistics;

use axum::extract::FromRef;
use identity::Identity;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::surface::System;

impl FromRef<System> for Identity {
    fn from_ref(system: &System) -> Self {
        system.inner.identity.clone()
    }
}

impl System {
    /// Returns the routes of settings, the database and secrets, with their descriptions.
    pub fn routes(&self) -> OpenApiRouter<()> {
        OpenApiRouter::new()
            .routes(routes!(config::show_config, config::set_config))
            .routes(routes!(config::list_config_history))
            .routes(routes!(config::roll_back_config))
            .routes(routes!(database::show_database))
            .routes(routes!(database::list_slow_queries))
            .routes(routes!(database::list_tables))
            .routes(routes!(database::clean_database))
            .routes(routes!(statistics::show_statistics))
            .routes(routes!(secrets::rotate_secrets))
            .with_state(self.clone())
    }
}
