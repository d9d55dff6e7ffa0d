//! The port through which the engine inside this process appears as a node.

use crate::model::ModelView;

/// Tells which models the engine inside this process serves.
pub trait EmbeddedNode: Send + Sync {
    /// Lists the models, loaded or not. Must not block.
    fn models(&self) -> Vec<ModelView>;
}
