//! Agents: the nodes that dial us. Who may, what they say of themselves, and the way to the model servers beside them.
//!
//! An agent's connection is asked over by us: whatever reaches its server goes through a tunnel in it. The node's row says that it
//! exists; the connection of the moment is a [`AgentSeat`]'s link, and never stored.

mod authority;
mod door;
mod joining;
mod link;
mod metrics;
mod seat;

pub use joining::Invited;
pub use link::AgentLink;
pub use seat::{AgentSeat, AgentSeats};

pub(crate) use authority::{Authority, KEY_PLACE};

use std::net::SocketAddr;

/// Where agents are expected.
#[derive(Clone, Debug, Default)]
pub struct AgentsConfig {
    /// The address that the listener for agents has; without it nobody can join.
    pub listen: Option<SocketAddr>,
    /// Where agents reach it, as `https://HOST:PORT`; without it whoever invites has to know.
    pub url: Option<String>,
}
