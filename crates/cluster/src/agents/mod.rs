//! Agents: the nodes that dial us. Who may, what they say of themselves, and the way to the model servers beside them.
//!
//! An agent's connection is asked over by us: whatever reaches its server goes through a tunnel in it. The node's row says that it
//! exists; the connection of the moment is a [`AgentSeat`]'s link, and never stored.

mod authority;
mod control_planes;
mod discovery;
mod door;
mod joining;
mod link;
mod metrics;
mod seat;

pub use discovery::DiscoveredAgent;
pub use joining::Invited;
pub use link::AgentLink;
pub use seat::{AgentSeat, AgentSeats};

pub(crate) use authority::{Authority, KEY_PLACE};
pub(crate) use discovery::Heard;

use std::net::SocketAddr;
use std::time::Duration;

/// Where agents are expected.
#[derive(Clone, Debug)]
pub struct AgentsConfig {
    /// The address that the listener for agents has; without it nobody can join.
    pub listen: Option<SocketAddr>,
    /// Where agents reach it, as `https://HOST:PORT`; without it whoever invites has to know, and agents that joined at other control
    /// planes do not hear of this one.
    pub url: Option<String>,
    /// How long requests wait for an agent whose link is lost. 35 s by default: partitions of 30 s, and the time to dial again.
    pub patience: Duration,
    /// The interfaces on which agents that belong nowhere are listened for, by name; all where empty. `None`: nowhere, by default.
    pub discovery: Option<Vec<String>>,
}

impl Default for AgentsConfig {
    fn default() -> Self {
        Self {
            listen: None,
            url: None,
            patience: Duration::from_secs(35),
            discovery: None,
        }
    }
}
