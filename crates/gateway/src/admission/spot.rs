//! What calls wait for, as lanes of the queue.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use scheduling::queue::Lane;

/// A model as a number: a hash of its normalised name. The fleet has too few models for two to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModelKey(u64);

const NUMBER: u64 = (1 << 62) - 1;

impl ModelKey {
    /// Returns the number of a model.
    pub(crate) fn of(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish() & NUMBER)
    }
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// A seat at which it has its turn.
    Reserved(u32),
    /// A seat that is worth waiting for.
    Line(u32),
    /// Any seat of a model.
    Any(ModelKey),
    /// Any seat of a model, before all others: the client has a part of the answer, and its node was lost.
    Again(ModelKey),
}

impl Spot {
    /// Returns the queue's lane for the spot.
    pub(super) const fn lane(self) -> Lane {
        let (kind, number) = match self {
            Self::Reserved(seat) => (0, seat as u64),
            Self::Line(seat) => (1, seat as u64),
            Self::Any(model) => (2, model.0),
            Self::Again(model) => (3, model.0),
        };
        Lane(kind << 62 | number)
    }

    /// Returns the seat that the spot is bound to.
    pub(super) const fn seat(self) -> Option<u32> {
        match self {
            Self::Reserved(seat) | Self::Line(seat) => Some(seat),
            Self::Any(_) | Self::Again(_) => None,
        }
    }
}
