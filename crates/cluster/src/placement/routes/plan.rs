//! `GET /api/v1/placement/plan` and `POST /api/v1/placement/apply`.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use identity::Admin;
use primitives::Timestamp;
use scheduling::placement::{Action, Drift, Plan};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::{JsonBody, Problem};

use super::super::action::plan_id;
use super::super::look::Stock;
use super::super::{Placement, Reconciler};
use super::body::{ModeBody, PlacementActionBody};
use crate::snapshot::FleetSnapshot;

/// Something to do.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct PlannedBody {
    /// Its name in the plan, for applying it alone.
    id: String,
    /// One of `unload`, `pull`, `copy`, `load`, `delete`.
    kind: &'static str,
    /// The model.
    model: String,
    /// The node's name.
    node: String,
    /// The node's id.
    node_id: String,
    /// The name of the node that a copy comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// Who carries it out.
    mode: ModeBody,
    /// Why, in words.
    why: String,
    /// What is different afterwards, in words.
    effect: String,
    /// Bytes of disk or memory that it takes or gives back, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

impl PlannedBody {
    fn new(action: Action, snapshot: &FleetSnapshot) -> Self {
        let named = |id| {
            snapshot
                .find_node(id)
                .map_or_else(|| id.to_string(), |node| node.name.to_string())
        };
        Self {
            from: action.from.map(named),
            id: plan_id(&action),
            kind: action.kind.as_str(),
            model: action.model.to_string(),
            node: action.node_name.to_string(),
            node_id: action.node.to_string(),
            mode: action.mode.into(),
            why: action.why,
            effect: action.effect,
            bytes: action.bytes,
        }
    }
}

/// Something that is wanted and cannot be had.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct UnmetBody {
    /// The model's key.
    model: String,
    /// What is missing, and why, in words.
    reason: String,
}

/// A model with different files under one name.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DriftBody {
    /// The model's key.
    model: String,
    /// Its files, those that are taken to be right first. The others are fetched anew where something is wanted of the model.
    files: Vec<DriftFilesBody>,
}

/// Nodes with the same files.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct DriftFilesBody {
    /// The digest of the files.
    digest: String,
    /// When the last of these nodes got them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    newest: Option<Timestamp>,
    /// Names of the nodes.
    nodes: Vec<String>,
}

impl DriftBody {
    fn new(drift: Drift, snapshot: &FleetSnapshot) -> Self {
        let files = drift.sides.into_iter().map(|side| DriftFilesBody {
            digest: side.digest.to_string(),
            newest: side.newest,
            nodes: side
                .nodes
                .iter()
                .filter_map(|id| Some(snapshot.find_node(*id)?.name.to_string()))
                .collect(),
        });
        Self {
            model: drift.key,
            files: files.collect(),
        }
    }
}

/// How the reconciler is.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ReconcilerBody {
    /// Whether the process that answers reconciles; another one does otherwise.
    here: bool,
    /// When it last looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    looked_at: Option<Timestamp>,
    /// Why it cannot look.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Whether files may be fetched and deleted now, by the maintenance windows.
    window_open: bool,
}

/// What brings the fleet to what is wanted of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct PlanBody {
    /// What to do, in order, beside what waits and is under way.
    actions: Vec<PlannedBody>,
    /// What waits and is under way.
    open: Vec<PlacementActionBody>,
    /// What is wanted and cannot be had.
    unmet: Vec<UnmetBody>,
    /// Models with different files under one name, whatever is wanted of them.
    drift: Vec<DriftBody>,
    /// How the reconciler is.
    reconciler: ReconcilerBody,
}

impl PlanBody {
    fn new(plan: Plan, stock: Stock, placement: &Placement) -> Self {
        let snapshot: Arc<FleetSnapshot> = placement.registry().snapshot();
        let state: Reconciler = placement.inner.state.lock().clone();
        Self {
            actions: plan
                .actions
                .into_iter()
                .map(|action| PlannedBody::new(action, &snapshot))
                .collect(),
            open: stock
                .open
                .into_iter()
                .map(PlacementActionBody::from)
                .collect(),
            unmet: plan
                .unmet
                .into_iter()
                .map(|unmet| UnmetBody {
                    model: unmet.key,
                    reason: unmet.reason,
                })
                .collect(),
            drift: plan
                .drift
                .into_iter()
                .map(|drift| DriftBody::new(drift, &snapshot))
                .collect(),
            reconciler: ReconcilerBody {
                here: state.term.is_some(),
                looked_at: state.looked_at,
                problem: state.problem,
                window_open: placement.is_window_open(),
            },
        }
    }
}

/// Shows what would bring the fleet to what is wanted of it
///
/// Made at this moment, of the fleet as it is. Nothing is done by looking.
#[utoipa::path(get, path = "/api/v1/placement/plan", operation_id = "show_placement_plan", tag = "models",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The plan: at most 1,000 actions at once.", body = PlanBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn show_placement_plan(
    _: Admin,
    State(placement): State<Placement>,
) -> Result<JsonBody<PlanBody>, Problem> {
    let (plan, stock) = placement
        .plan_now()
        .await
        .map_err(super::super::PlacementError::from)?;
    Ok(JsonBody(PlanBody::new(plan, stock, &placement)))
}

/// What of the plan to carry out.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplyRequest {
    /// The `id` of each action in the plan. Absent: all.
    #[schema(max_items = 1000)]
    actions: Option<Vec<String>>,
}

/// What is carried out now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AppliedBody {
    /// The actions, which wait for their turn.
    items: Vec<PlacementActionBody>,
}

/// Has the plan carried out: all of it, or chosen actions
///
/// Each action waits for its turn, and is looked at once more right before it is done.
#[utoipa::path(post, path = "/api/v1/placement/apply", operation_id = "apply_placement_plan", tag = "models",
    request_body = ApplyRequest, security(("bearer" = [])),
    responses(
        (status = 202, description = "What waits for its turn now.", body = AppliedBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
        (status = 409, description = "An action is not in the plan any more.", body = Problem),
        (status = 429, description = "Too many actions wait.", body = Problem),
    ))]
pub(super) async fn apply_placement_plan(
    admin: Admin,
    State(placement): State<Placement>,
    JsonBody(request): JsonBody<ApplyRequest>,
) -> Result<(StatusCode, JsonBody<AppliedBody>), Problem> {
    let chosen = request.actions.as_deref();
    let applied = placement.apply_plan(chosen, &admin.actor()).await?;
    let items = applied.into_iter().map(PlacementActionBody::from);
    let body = AppliedBody {
        items: items.collect(),
    };
    Ok((StatusCode::ACCEPTED, JsonBody(body)))
}
