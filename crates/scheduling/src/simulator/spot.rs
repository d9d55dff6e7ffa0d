//! What calls wait for, as lanes of the queue.

use crate::queue::Lane;

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// A seat at which it has its turn.
    Reserved(u32),
    /// A seat that is worth waiting for.
    Line(u32),
    /// Any seat of a model.
    Any(u32),
    /// A model that nobody can serve now.
    Nobody(u32),
}

impl Spot {
    pub(super) const fn lane(self) -> Lane {
        let (kind, number) = match self {
            Self::Reserved(seat) => (0, seat),
            Self::Line(seat) => (1, seat),
            Self::Any(model) => (2, model),
            Self::Nobody(model) => (3, model),
        };
        Lane(kind << 32 | number as u64)
    }

    /// Returns the seat that a lane stands for, where it stands for one.
    pub(super) const fn seat_of(lane: Lane) -> Option<u32> {
        if lane.0 >> 32 < 2 {
            Some(lane.0 as u32)
        } else {
            None
        }
    }
}
