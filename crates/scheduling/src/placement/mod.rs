//! Which model should be on which node, and in memory where: a plan is a function of a view of the fleet and of what is wanted.
//!
//! The rules that hold whatever is wanted ([`Forbidden`]): nothing is taken away that is in use, that is the last copy, that is pinned,
//! or that is known only from an old view. Whoever carries a plan out asks [`FleetView::forbids`] again with what the node says at that
//! moment. A plan that was carried out leaves nothing to plan: what is wanted is reached, and stays reached until something changes.
//!
//! This module never decides where a call goes, and never counts on what a node may do by itself.

mod candidates;
mod demand;
mod desired;
mod drift;
mod effect;
mod fit;
mod guard;
mod plan;
mod planner;
mod removal;
mod view;

pub use demand::{DemandRule, DemandState, ModelDemand};
pub use desired::{Desired, Mode};
pub use drift::{Drift, DriftSide};
pub use fit::{ModelShape, memory_bytes};
pub use guard::{Forbidden, Removal};
pub use plan::{Action, ActionKind, Plan, Unmet};
pub use planner::plan;
pub use view::{Copy, FleetView, InMemory, ModelFacts, Node, Standing};
