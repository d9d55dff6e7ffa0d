//! Which model a node should hold: no swap on every call, one load at a time per model, never driving out who generates, and
//! loading ahead of need.
//!
//! Pure functions and small records; who loads and unloads is the caller's business. A caller keeps, per node, a [`ModelHold`]
//! and, where the node does not tell its memory, a [`LearnedMemory`]; and one [`ColdLoads`] for the fleet. Then:
//!
//! - before a call goes to a node it asks [`may_run`]: a verdict without [room](RunVerdict::has_room) makes the candidate
//!   [full](crate::Candidate::full), so that the call waits in the queue instead of at the node;
//! - when a call starts it tells [`ModelHold::started`], and, if it causes a load, [`ColdLoads::begin`] and [`ModelHold::swapped`];
//! - when a call begins or ceases to wait for a model that a node has not loaded it tells [`ModelHold::contest`];
//! - when a line grows it asks [`prewarm`], and [`best_host`] says where.

mod hold;
mod loads;
mod memory;
mod prewarm;
mod run;

pub use hold::{HoldRule, ModelHold, SwapVerdict};
pub use loads::ColdLoads;
pub use memory::{LearnedMemory, Resident, evictions};
pub use prewarm::{Demand, Host, best_host, prewarm};
pub use run::{NodeModels, RunVerdict, may_run};

/// Returns the context to ask for when a client asks for `asked` and the model is loaded with `loaded`: the loaded one when
/// everything fits into it, so that the model is not loaded again (a smaller window is never given silently).
pub const fn context_to_ask(asked: u32, loaded: u32) -> u32 {
    if asked <= loaded { loaded } else { asked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_window_is_never_given_and_a_larger_one_never_reloaded() {
        assert_eq!(context_to_ask(4_096, 8_192), 8_192);
        assert_eq!(context_to_ask(16_384, 8_192), 16_384);
    }
}
