//! How a transaction begins.

use crate::Durability;

/// How a transaction begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    /// Reading one state of the database.
    Read,
    /// The same, by statements that find rows by keys.
    ReadByKeys,
    /// Writing.
    Write(Durability),
    /// Writing, one after the other.
    WriteInTurn(Durability),
}

impl Begin {
    pub(crate) const fn sqlite(self) -> &'static str {
        match self {
            Self::Read | Self::ReadByKeys => "BEGIN",
            Self::Write(_) | Self::WriteInTurn(_) => "BEGIN IMMEDIATE",
        }
    }

    pub(crate) const fn postgres(self) -> &'static str {
        match self {
            // Each run of a statement that is kept prepared is planned for its own parameters: filters that are absent are parameters,
            // too, and one plan for all of them reads whole tables.
            Self::Read => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL plan_cache_mode TO force_custom_plan"
            }
            Self::Write(Durability::Full) => {
                "BEGIN; SET LOCAL plan_cache_mode TO force_custom_plan"
            }
            Self::Write(Durability::Relaxed) => {
                "BEGIN; SET LOCAL plan_cache_mode TO force_custom_plan; SET LOCAL synchronous_commit TO OFF"
            }
            // To plan what finds its rows by keys anew would be most of its time. Changes that take turns are like that.
            Self::ReadByKeys => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Self::WriteInTurn(Durability::Full) => "BEGIN",
            Self::WriteInTurn(Durability::Relaxed) => "BEGIN; SET LOCAL synchronous_commit TO OFF",
        }
    }
}
