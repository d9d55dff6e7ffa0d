//! The classes of calls: how important a call is, by what its key may ask for.

use serde::{Deserialize, Serialize};

/// How important a call is. The order is from the most to the least important.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The platform's own calls: always first. There are few of them.
    System,
    /// Somebody waits in front of a screen.
    Interactive,
    /// What says nothing.
    #[default]
    Default,
    /// Whenever there is room.
    Batch,
}

impl Class {
    /// Every class, the most important first.
    pub const ALL: [Self; 4] = [Self::System, Self::Interactive, Self::Default, Self::Batch];

    /// Returns the class a call gets that asks for `self` with a key that allows at most `ceiling`.
    #[must_use]
    pub fn within(self, ceiling: Self) -> Self {
        self.max(ceiling)
    }

    /// Tells whether a call of this class may push a started call of class `victim` back into the queue. Only people in
    /// front of a screen (and the platform) may, and only batch work has to give way.
    pub const fn may_preempt(self, victim: Self) -> bool {
        matches!(self, Self::System | Self::Interactive) && matches!(victim, Self::Batch)
    }

    /// Names the class in configuration, headers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Interactive => "interactive",
            Self::Default => "default",
            Self::Batch => "batch",
        }
    }

    /// Returns the share of the fleet that a class has against the others while all of them wait. Nobody has none: that is
    /// what keeps batch work from starving.
    pub(super) const fn weight(self) -> u64 {
        match self {
            Self::System => 1_024,
            Self::Interactive => 16,
            Self::Default => 4,
            Self::Batch => 1,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// Returns what a call is charged: its tokens, generated ones twice (they take longer than read ones), times what a token of
/// the model costs compared with other models.
pub fn token_cost(prompt_tokens: u64, output_tokens: u64, model_cost: f32) -> u64 {
    let tokens = prompt_tokens.saturating_add(output_tokens.saturating_mul(2));
    (tokens as f64 * f64::from(model_cost)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_caps_what_its_calls_ask_for() {
        assert_eq!(Class::Interactive.within(Class::Default), Class::Default);
        assert_eq!(Class::Batch.within(Class::Interactive), Class::Batch);
        assert_eq!(serde_json::to_value(Class::Batch).unwrap(), "batch");
    }
}
