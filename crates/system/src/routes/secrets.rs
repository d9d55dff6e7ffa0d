//! `POST /api/v1/system/secrets/rotate`.

use axum::extract::State;
use identity::Admin;
use serde::Serialize;
use utoipa::ToSchema;
use web::{JsonBody, Problem};

use crate::surface::System;

/// What replacing the key came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct RotationBody {
    /// The key that seals now: a part of its hash.
    #[schema(example = "1f2e3d4c")]
    key_id: String,
    /// The key that sealed before; the same where the configuration gives the key.
    previous_key_id: String,
    /// Secrets that were sealed anew.
    resealed: u64,
    /// Secrets that no known key opens: enter them again.
    unreadable: u64,
}

/// Seals all stored secrets with another key
///
/// Where the key stands in the data directory a fresh one is made; where the configuration gives it, what the previous ones have sealed is
/// sealed with it. Everything goes on meanwhile. Backups stay sealed with the key of their time.
#[utoipa::path(post, path = "/api/v1/system/secrets/rotate", operation_id = "rotate_secrets", tag = "system",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Everything that could be opened is sealed with the present key.", body = RotationBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn rotate_secrets(
    admin: Admin,
    State(system): State<System>,
) -> Result<JsonBody<RotationBody>, Problem> {
    let rotation = system.rotate_secrets(&admin.actor()).await?;
    Ok(JsonBody(RotationBody {
        key_id: rotation.key_id,
        previous_key_id: rotation.previous_key_id,
        resealed: rotation.resealed,
        unreadable: rotation.unreadable,
    }))
}
