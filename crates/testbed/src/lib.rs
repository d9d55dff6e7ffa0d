//! Never shipped: what tests need around Remuda.
//!
//! - [`ScriptedUpstream`]: a model server that speaks Ollama's or OpenAI's dialect and misbehaves on request;
//! - [`ScriptedRegistry`]: where models with files come from, which breaks off on request;
//! - [`LinkBreaker`]: a TCP link that can be cut and restored;
//! - [`OwnServer`]: Redis, PostgreSQL or PgBouncer that can be stopped and started again;
//! - `System`: a whole Remuda in this process (feature `system`);
//! - `RunningAgent`: an agent that has joined it (feature `system`);
//! - [`TestClient`]: a small HTTP client that shows what stands on the wire;
//! - [`RawConnection`]: a connection on which a test writes what no client would.
//!
//! Only integration tests (`tests/it`) and benchmarks use this crate. It knows nothing of Remuda's rules, so that a
//! mistake there cannot be repeated here.

#[cfg(feature = "system")]
mod agent;
mod client;
mod free_address;
mod link_breaker;
mod raw;
mod registry;
mod servers;
#[cfg(feature = "system")]
mod system;
pub mod upstream;
mod wait;

#[cfg(feature = "system")]
pub use agent::RunningAgent;
pub use client::{Reply, ReplyStream, TestClient};
pub use free_address::free_address;
pub use link_breaker::{LinkBreaker, Lost};
pub use raw::{RawConnection, send_raw};
pub use registry::ScriptedRegistry;
pub use servers::OwnServer;
#[cfg(feature = "system")]
pub use system::{System, SystemBuilder};
pub use upstream::{
    Answer, CannedAnswer, EmbeddingPace, Ending, Fault, Flavour, Gate, ModelFiles, Script,
    ScriptedModel, ScriptedUpstream,
};
pub use wait::wait_until;
