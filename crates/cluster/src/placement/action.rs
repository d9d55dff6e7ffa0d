//! What is done about the plan, as it is stored.

use std::sync::Arc;
use std::time::Duration;

use primitives::{JobId, NodeId, Timestamp};
use scheduling::placement::{Action, ActionKind, Mode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far an action has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PlacementActionStatus)]
pub(crate) enum Status {
    /// It waits for its turn.
    Queued,
    /// It is carried out.
    Running,
    /// It was carried out.
    Done,
    /// It could not be carried out.
    Failed,
    /// It was called off, or its time has passed.
    Cancelled,
}

impl Status {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [
            Self::Queued,
            Self::Running,
            Self::Done,
            Self::Failed,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
    }

    pub(crate) const fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// Who had an action carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PlacementActionOrigin)]
pub(crate) enum Origin {
    /// The model's mode is `auto`.
    Auto,
    /// A person applied the plan.
    Applied,
}

impl Origin {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Applied => "applied",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Auto, Self::Applied]
            .into_iter()
            .find(|origin| origin.as_str() == name)
    }
}

/// One stored action.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: JobId,
    pub(crate) action: Action,
    pub(crate) origin: Origin,
    pub(crate) status: Status,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) attempt: u32,
    pub(crate) error: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
}

impl Stored {
    /// Makes an action that waits.
    pub(crate) fn queued(action: Action, origin: Origin, attempt: u32, now: Timestamp) -> Self {
        Self {
            id: JobId::generate(now),
            action,
            origin,
            status: Status::Queued,
            done_bytes: 0,
            total_bytes: 0,
            attempt,
            error: None,
            created_at: now,
            started_at: None,
            ended_at: None,
        }
    }
}

/// What an action says that a person called off.
pub(crate) const CALLED_OFF: &str = "called off";

/// Names an action of a plan, the same as long as it is planned.
pub(crate) fn plan_id(action: &Action) -> String {
    format!("{}/{}/{}", action.kind.as_str(), action.node, action.key)
}

/// The wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_mins(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_hours(6);

/// Returns how long a node is left alone with a model after so many failures one after the other: twice as long each time.
pub(crate) fn wait_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}

/// What the columns of a stored action hold that the planner made.
pub(crate) struct Planned {
    pub(crate) kind: ActionKind,
    pub(crate) key: String,
    pub(crate) model: String,
    pub(crate) node: NodeId,
    pub(crate) node_name: String,
    pub(crate) from: Option<NodeId>,
    pub(crate) context: Option<u32>,
    pub(crate) cause: String,
    pub(crate) why: String,
    pub(crate) effect: String,
    pub(crate) bytes: Option<u64>,
}

impl From<Planned> for Action {
    fn from(planned: Planned) -> Self {
        Self {
            kind: planned.kind,
            key: planned.key,
            model: Arc::from(planned.model),
            node: planned.node,
            node_name: Arc::from(planned.node_name),
            from: planned.from,
            context: planned.context,
            cause: planned.cause,
            mode: Mode::Auto,
            why: planned.why,
            bytes: planned.bytes,
            effect: planned.effect,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_six_hours() {
        assert_eq!(wait_after(1), Duration::from_mins(1));
        assert_eq!(wait_after(3), Duration::from_mins(4));
        assert_eq!(wait_after(u32::MAX), Duration::from_hours(6));
    }
}
