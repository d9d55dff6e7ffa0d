//! One load at a time per model, over the whole fleet.

use std::collections::HashMap;
use std::time::Duration;

use primitives::{MonotonicTime, NodeId};

/// The loads under way over the fleet, by model: a second call for a model waits for the first one's load.
#[derive(Clone, Debug, Default)]
pub struct ColdLoads {
    loads: HashMap<String, (NodeId, MonotonicTime)>,
}

/// A load that nobody reported back for this time is taken for lost.
const LOST_LOAD: Duration = Duration::from_mins(10);

impl ColdLoads {
    /// Asks to load `model` on `node`. Returns the node where it is being loaded already, if there is one; otherwise the load is
    /// the caller's, who must report it [done](Self::done).
    pub fn begin(&mut self, model: &str, node: NodeId, now: MonotonicTime) -> Option<NodeId> {
        if let Some(at) = self.loading(model, now) {
            return Some(at);
        }
        self.loads.insert(model.to_owned(), (node, now));
        None
    }

    /// Ends a load, whether it went well or not.
    pub fn done(&mut self, model: &str, node: NodeId) {
        if self.loads.get(model).is_some_and(|(at, _)| *at == node) {
            self.loads.remove(model);
        }
    }

    /// Returns where a model is being loaded.
    pub fn loading(&self, model: &str, now: MonotonicTime) -> Option<NodeId> {
        self.loads
            .get(model)
            .filter(|(_, since)| now.since(*since) < LOST_LOAD)
            .map(|(node, _)| *node)
    }

    /// Tells whether any model is being loaded on a node.
    pub fn is_loading_on(&self, node: NodeId, now: MonotonicTime) -> bool {
        self.loads
            .values()
            .any(|(at, since)| *at == node && now.since(*since) < LOST_LOAD)
    }

    /// Forgets the loads of a node: it failed, or is gone. Others may begin them.
    pub fn forget_node(&mut self, node: NodeId) {
        self.loads.retain(|_, (at, _)| *at != node);
    }
}

#[cfg(test)]
mod tests {
    use primitives::Timestamp;

    use super::*;

    fn at(seconds: u64) -> MonotonicTime {
        MonotonicTime::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_model_is_loaded_once_however_many_ask() {
        let (a, b) = (
            NodeId::generate(Timestamp::from_micros(1)),
            NodeId::generate(Timestamp::from_micros(2)),
        );
        let mut loads = ColdLoads::default();
        assert_eq!(loads.begin("m", a, at(0)), None);
        assert_eq!(loads.begin("m", b, at(5)), Some(a));
        assert_eq!(loads.begin("n", b, at(5)), None);
        assert!(loads.is_loading_on(a, at(5)) && loads.is_loading_on(b, at(5)));
        loads.done("m", b);
        assert_eq!(
            loads.loading("m", at(6)),
            Some(a),
            "only the loader ends it"
        );
        loads.done("m", a);
        assert_eq!(loads.begin("m", b, at(9)), None);
        assert_eq!(loads.loading("m", at(9 + 600)), None, "lost");
        assert_eq!(loads.begin("m", a, at(9 + 600)), None, "lost");
        loads.forget_node(a);
        assert_eq!(loads.loading("m", at(610)), None, "its node failed");
    }
}
