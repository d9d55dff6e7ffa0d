//! What the fleet looks like once an action is done. The planner plans on with it, and so does whoever has actions under way.

use super::plan::{Action, ActionKind};
use super::view::{Copy, FleetView, InMemory};

impl FleetView {
    /// Changes the view as an action will change the fleet. Whoever has files on their way tells so by `arriving`.
    pub fn apply(&mut self, action: &Action, arriving: bool) {
        let weights = self.weights_bytes(&action.key);
        let needed = self.needed_bytes(&action.key, action.context);
        let right = super::drift::right_digest(self, &action.key);
        let now = self.now;
        let Some(node) = self.node_mut(action.node) else {
            return;
        };
        match action.kind {
            ActionKind::Pull | ActionKind::Copy => {
                let fetched = Copy {
                    key: action.key.clone(),
                    name: action.model.clone(),
                    digest: right,
                    size_bytes: weights,
                    modified_at: None,
                    in_memory: None,
                    in_use: false,
                    last_used: Some(now),
                    arriving,
                };
                if let Some(copy) = node.copy_mut(&action.key) {
                    // Its files are replaced; what is in memory stays there.
                    copy.digest = fetched.digest;
                    copy.arriving |= arriving;
                } else {
                    node.disk_free_bytes = node
                        .disk_free_bytes
                        .map(|free| free.saturating_sub(weights.unwrap_or(0)));
                    node.copies.push(fetched);
                }
            }
            ActionKind::Load => {
                let Some(copy) = node.copy_mut(&action.key) else {
                    return;
                };
                let before = copy.in_memory.and_then(|memory| memory.bytes).unwrap_or(0);
                copy.in_memory = Some(InMemory {
                    bytes: needed,
                    context: action.context,
                    stays: true,
                });
                let more = needed.unwrap_or(0).saturating_sub(before);
                node.memory_free_bytes =
                    node.memory_free_bytes.map(|free| free.saturating_sub(more));
            }
            ActionKind::Unload => {
                let Some(memory) = node
                    .copy_mut(&action.key)
                    .and_then(|copy| copy.in_memory.take())
                else {
                    return;
                };
                node.memory_free_bytes = node
                    .memory_free_bytes
                    .map(|free| free.saturating_add(memory.bytes.unwrap_or(0)));
            }
            ActionKind::Delete => {
                let size = node.find_copy(&action.key).and_then(|copy| copy.size_bytes);
                node.copies.retain(|copy| copy.key != action.key);
                node.disk_free_bytes = node
                    .disk_free_bytes
                    .map(|free| free.saturating_add(size.unwrap_or(0)));
            }
        }
    }
}
