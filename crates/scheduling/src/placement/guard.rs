//! What is never done, whatever is wanted.

use primitives::NodeId;

use super::view::{FleetView, Standing};

/// What is to be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A model's files at a node.
    Files,
    /// A model from a node's memory.
    Memory,
    /// A model's files, for others of the same name in their place.
    Replacement,
}

/// Why something is not taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The node is gone, or has no such model.
    #[error("the node does not have it")]
    Absent,
    /// What is known of the node is old, or it does not answer.
    #[error("what is known of the node is not fresh")]
    Stale,
    /// The node takes no commands about models.
    #[error("the node takes no commands about models now")]
    NotManaged,
    /// Calls run on it, or have just run.
    #[error("it is in use")]
    InUse,
    /// It is in memory, and who is in memory may be in use.
    #[error("it is in memory")]
    InMemory,
    /// It is to be kept at this node.
    #[error("it is pinned to the node")]
    Pinned,
    /// It is to be kept in memory at this node.
    #[error("it is kept warm at the node")]
    KeptWarm,
    /// No other node that answers has it.
    #[error("it is the last copy")]
    LastCopy,
    /// Fewer nodes than wanted would have it.
    #[error("fewer nodes than wanted would have it")]
    Wanted,
}

impl FleetView {
    /// Returns why a model must not be taken from a node; `None` when it may. Copies at nodes that do not answer, or that give up their
    /// own, are not counted as copies.
    pub fn forbids(&self, removal: Removal, node: NodeId, key: &str) -> Option<Forbidden> {
        let Some(node) = self.find_node(node) else {
            return Some(Forbidden::Absent);
        };
        let Some(copy) = node.find_copy(key) else {
            return Some(Forbidden::Absent);
        };
        match node.standing {
            _ if !self.is_fresh(node) => return Some(Forbidden::Stale),
            Standing::Unreachable => return Some(Forbidden::Stale),
            Standing::Draining | Standing::Fixed => return Some(Forbidden::NotManaged),
            Standing::Usable => {}
        }
        let just_used = copy
            .last_used
            .is_some_and(|used| self.now.since(used) < self.quiet_for);
        if copy.in_use || copy.arriving || just_used {
            return Some(Forbidden::InUse);
        }
        let desired = self.find_desired(key);
        match removal {
            Removal::Memory => {
                let desired = desired?;
                if desired.keep_warm && desired.pins(node.id) {
                    return Some(Forbidden::KeptWarm);
                }
                // One with too small a context, or that goes by itself, does not stand in for one that is kept.
                let others = self.nodes.iter().filter(|other| {
                    other.id != node.id
                        && self.is_usable(other)
                        && other.suits(desired)
                        && self.is_kept(other, desired)
                });
                let wanted = self.wanted_loaded(desired) as usize;
                (others.count() < wanted).then_some(Forbidden::Wanted)
            }
            Removal::Replacement => None,
            Removal::Files => {
                if desired.is_some_and(|desired| desired.pins(node.id)) {
                    return Some(Forbidden::Pinned);
                }
                let others = self.others(node.id, key, |copy| !copy.arriving);
                if others == 0 {
                    return Some(Forbidden::LastCopy);
                }
                let too_few = desired.is_some_and(|desired| {
                    node.suits(desired)
                        && others < desired.on_disk_with(self.wanted_loaded(desired))
                });
                if too_few {
                    return Some(Forbidden::Wanted);
                }
                // Last: what is forbidden for this alone may be done after an unload.
                copy.in_memory.map(|_| Forbidden::InMemory)
            }
        }
    }

    /// Counts other nodes that answer, suit the model and have a copy that counts.
    fn others(&self, node: NodeId, key: &str, counts: impl Fn(&super::view::Copy) -> bool) -> u32 {
        let desired = self.find_desired(key);
        let others = self.nodes.iter().filter(|other| {
            other.id != node
                && self.is_usable(other)
                && desired.is_none_or(|desired| other.suits(desired))
                && other.find_copy(key).is_some_and(&counts)
        });
        u32::try_from(others.count()).unwrap_or(u32::MAX)
    }
}
