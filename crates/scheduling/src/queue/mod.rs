//! The fair queue in front of the fleet: every call that must wait for a node waits here.
//!
//! Who is next is decided by virtual time on three levels (class, organisation, user), in the manner of start-time fair queueing
//! (Goyal, Vin, Cheng, 1996) with tokens as the measure (Sheng et al., "Fairness in Serving Large Language Models", 2024): whoever
//! has been given the least weighted tokens goes next. A start is charged with the estimate and settled with what was used.
//!
//! Calls wait in lanes, one for each thing that can become free. A caller asks who is next among the lanes that could run now,
//! so a call that nothing can serve stands in nobody's way. Cancelling takes a call out where it stands.
//!
//! The queue never runs anything and holds no permits of its own: a [`Ticket`] is a number, and the owner of the queue makes the
//! guard that ends it. An ended or unknown ticket changes nothing, so ending twice is harmless.

mod accounts;
mod class;
mod entries;
mod fair;
mod flows;
mod lanes;
mod limits;
mod preemption;
mod turns;

pub use class::{Class, token_cost};
pub use entries::Ticket;
pub use fair::{FairQueue, Place, Tenant, Waiting};
pub use lanes::Lane;
pub use limits::{QueueLimits, Refusal, RefusalReason};
pub use preemption::Preemption;
