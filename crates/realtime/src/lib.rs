//! The WebSocket hub behind `GET /ws` and `GET /ws/inference/{id}`: who listens, to what, from where on.
//!
//! A message is encoded once and appended to its channel's history; every connection reads the history from its own position, so that
//! resuming, catching up and following live are one thing, and a connection holds no queue of its own. Who cannot keep up falls off the
//! end of the history and is closed with a code that says so. Nothing here waits for a listener, and nothing here touches the database:
//! callers are known from the snapshot of `identity`.
//!
//! The invariant: a connection gets messages of a channel only while its credential is good for that channel.

mod channel;
mod channels;
mod closing;
mod config;
mod connection;
mod encode;
mod handshake;
mod history;
mod hub;
mod inbound;
mod metrics;
mod seats;
mod socket;
mod sources;
mod standing;
mod subscriptions;
mod topic;

pub use closing::CloseReason;
pub use config::HubConfig;
pub use hub::{Hub, HubDeps, OriginRule};
pub use sources::{InferenceEvent, SystemSampler};
pub use standing::{CallerId, Owner};
pub use topic::{TOPICS, Topic};
