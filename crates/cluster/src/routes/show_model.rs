//! `GET /api/v1/models/{model}`.

use axum::extract::State;
use identity::Admin;
use primitives::ErrorKind;
use web::{JsonBody, PathParam, Problem};

use super::list_models::{FleetModelBody, fleet_model};
use crate::name::model_key;
use crate::registry::Registry;

/// Shows a model of the fleet with the nodes that have it.
#[utoipa::path(get, path = "/api/v1/models/{model}", operation_id = "show_model", tag = "models", security(("bearer" = [])),
    params(("model" = String, Path, description = "The model's name; `/` is written as `%2F`.")),
    responses(
        (status = 200, description = "The model.", body = FleetModelBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 404, description = "No node has it.", body = Problem),
    ))]
pub(super) async fn show_model(
    _: Admin,
    State(registry): State<Registry>,
    PathParam(model): PathParam<String>,
) -> Result<JsonBody<FleetModelBody>, Problem> {
    let (snapshot, notes) = (registry.snapshot(), registry.notes());
    let found = fleet_model(&snapshot, &notes, &model_key(&model));
    found.map(JsonBody).ok_or_else(|| {
        Problem::new(
            ErrorKind::NotFound,
            "no node has this model: see `remuda models`, or fetch it with `remuda pull`",
        )
    })
}
