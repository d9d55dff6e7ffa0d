//! Whether a call may go to a node as far as the node's memory is concerned.

use std::fmt;
use std::time::Duration;

use primitives::MonotonicTime;

use super::hold::{HoldRule, ModelHold, SwapVerdict};

/// A node's memory as seen by a call that asks for one model there.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeModels {
    /// Whether the model is in the node's memory, or being loaded there.
    pub present: bool,
    /// Whether the model is being loaded on another node.
    pub loading_elsewhere: bool,
    /// Whether the node loads another model.
    pub node_loads: bool,
    /// What the model takes, in bytes. `None` when nobody knows.
    pub model_bytes: Option<u64>,
    /// Memory that is free, in bytes. `None` when the node does not tell and nothing was [learned](super::LearnedMemory): then it is
    /// taken to fit, and the node shows.
    pub free_bytes: Option<u64>,
    /// Memory of the models on which no call runs, in bytes: it could be made free.
    pub idle_bytes: u64,
    /// Calls that wait for models which the node has in memory.
    pub waiting_for_present: u32,
    /// Calls that wait for models which it has not.
    pub waiting_for_others: u32,
}

/// Whether a call may go to a node now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunVerdict {
    /// The model is there.
    #[default]
    Ready,
    /// It is loaded first; whoever generates is not driven out.
    Load,
    /// The model has had its share while another one waits: its running calls end, then the other one is loaded.
    Spent,
    /// The model is being loaded on another node: one load at a time.
    LoadingElsewhere,
    /// The models that would have to go generate, or the node loads another one.
    Busy,
    /// The loaded models are held for this time at most: their calls are served together.
    Held(Duration),
}

impl RunVerdict {
    /// Tells whether the call may go there now.
    pub const fn has_room(self) -> bool {
        matches!(self, Self::Ready | Self::Load)
    }

    /// Returns when to ask again at the latest although nothing else happens.
    pub const fn look_again(self) -> Option<Duration> {
        match self {
            Self::Held(time) => Some(time),
            _ => None,
        }
    }
}

impl fmt::Display for RunVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ready => f.write_str("in the node's memory"),
            Self::Load => f.write_str("is loaded first"),
            Self::Spent => f.write_str(
                "calls for another model wait for this node: its running calls end, then the other model is loaded",
            ),
            Self::LoadingElsewhere => {
                f.write_str("is being loaded on another node: one load at a time")
            }
            Self::Busy => f.write_str("the node's memory is taken by models that generate or load"),
            Self::Held(time) => write!(
                f,
                "the node serves the calls for the model it has together, for {} s more at most",
                time.as_secs_f32().ceil()
            ),
        }
    }
}

/// Decides whether a call may go to a node now. `hold` is the node's.
pub fn may_run(
    node: &NodeModels,
    hold: &ModelHold,
    rule: HoldRule,
    now: MonotonicTime,
) -> RunVerdict {
    if node.present {
        return if node.waiting_for_others > 0 && hold.is_spent(rule, now) {
            RunVerdict::Spent
        } else {
            RunVerdict::Ready
        };
    }
    if node.loading_elsewhere {
        return RunVerdict::LoadingElsewhere;
    }
    if node.node_loads {
        return RunVerdict::Busy;
    }
    let (Some(free), Some(bytes)) = (node.free_bytes, node.model_bytes) else {
        return RunVerdict::Load;
    };
    if free >= bytes {
        return RunVerdict::Load;
    }
    if free.saturating_add(node.idle_bytes) < bytes {
        return RunVerdict::Busy;
    }
    match hold.may_swap(rule, 0, node.waiting_for_present, now) {
        SwapVerdict::Now => RunVerdict::Load,
        SwapVerdict::Held(time) => RunVerdict::Held(time),
        SwapVerdict::Generating => RunVerdict::Busy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonotonicTime {
        MonotonicTime::from_micros(millis * 1_000)
    }

    fn verdict(node: &NodeModels, hold: &ModelHold, millis: u64) -> RunVerdict {
        may_run(node, hold, HoldRule::default(), at(millis))
    }

    #[test]
    fn every_verdict_has_its_case() {
        let mut hold = ModelHold::default();
        let swap = NodeModels {
            model_bytes: Some(8),
            free_bytes: Some(4),
            idle_bytes: 8,
            ..NodeModels::default()
        };
        hold.started(at(0));
        hold.contest(true, at(0));
        let present = NodeModels {
            present: true,
            ..swap
        };
        assert_eq!(verdict(&present, &hold, 1), RunVerdict::Ready);
        let wanted = NodeModels {
            waiting_for_others: 1,
            ..present
        };
        assert_eq!(verdict(&wanted, &hold, 20_000), RunVerdict::Spent);
        assert_eq!(verdict(&present, &hold, 20_000), RunVerdict::Ready);
        let kept = verdict(
            &NodeModels {
                waiting_for_present: 2,
                ..swap
            },
            &hold,
            1_000,
        );
        assert_eq!(kept.look_again(), Some(Duration::from_secs(9)));
        assert!(!kept.has_room());
        assert_eq!(verdict(&swap, &hold, 20_000), RunVerdict::Load);
        let elsewhere = NodeModels {
            loading_elsewhere: true,
            ..swap
        };
        assert_eq!(
            verdict(&elsewhere, &hold, 20_000),
            RunVerdict::LoadingElsewhere
        );
        let loads = NodeModels {
            node_loads: true,
            ..swap
        };
        assert_eq!(verdict(&loads, &hold, 20_000), RunVerdict::Busy);
        let generating = NodeModels {
            idle_bytes: 0,
            ..swap
        };
        assert_eq!(verdict(&generating, &hold, 20_000), RunVerdict::Busy);
        for fits in [
            NodeModels {
                free_bytes: Some(8),
                ..swap
            },
            NodeModels {
                free_bytes: None,
                ..swap
            },
            NodeModels {
                model_bytes: None,
                ..swap
            },
        ] {
            assert_eq!(verdict(&fits, &hold, 0), RunVerdict::Load);
        }
    }
}
