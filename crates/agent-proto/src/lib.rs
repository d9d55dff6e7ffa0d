//! What the control plane and its agents say to each other: the messages, the connection that carries them, the names that
//! certificates are issued for, the signed releases of the program, and what agents that belong nowhere say of themselves.
//!
//! The agent opens the TCP connection; the protocol that both agree on within TLS ([`LINK`] or [`JOINING`]) says who asks over it.
//! This crate knows neither nodes nor machines, and decides nothing.

mod announcement;
mod channel;
mod invitation;
mod names;
mod release;
mod tunnel;
mod version;

/// The messages and services of `proto/agent.proto`.
pub mod v1 {
    #![expect(
        missing_docs,
        clippy::allow_attributes,
        clippy::pedantic,
        reason = "generated: `proto/agent.proto` says what each thing is"
    )]
    include!("../generated/remuda.agent.v1.rs");
}

pub use announcement::{ANNOUNCED, Announcement};
pub use channel::{Channel, MOST_TUNNELS, connect, deepest, serve};
pub use invitation::{Invitation, InvitationError, fingerprint};
pub use names::{CONTROL_PLANE, COPY_NAMESPACE, is_copy_name, node_host, node_in, node_of};
pub use release::{
    Hashing, MOST_MANIFEST_BYTES, MOST_RELEASE_BYTES, Manifest, ReleaseError, Sha256, SigningKey,
    UpdateKey, find_target, own_target,
};
pub use tunnel::TunnelStream;
pub use version::{InvalidVersion, Version, find_version, program_version};

use std::ops::RangeInclusive;

/// The versions of the protocol that this program speaks.
pub const PROTOCOLS: RangeInclusive<u32> = 1..=1;

/// The protocol within TLS for connections over which the control plane asks and the agent answers.
pub const LINK: &[u8] = b"remuda-agent";

/// The protocol within TLS for connections over which the agent asks to join, or for another certificate.
pub const JOINING: &[u8] = b"h2";

/// The protocol within TLS for connections between agents, over which one fetches files of models from the other by HTTP/1.1.
pub const FILES: &[u8] = b"remuda-files";

/// Returns the newest version that both sides speak, or `None` where there is none.
pub fn common_protocol(ours: &RangeInclusive<u32>, theirs: &RangeInclusive<u32>) -> Option<u32> {
    let newest = *ours.end().min(theirs.end());
    let oldest = *ours.start().max(theirs.start());
    (newest >= oldest).then_some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_spoken() {
        assert_eq!(common_protocol(&(1..=3), &(2..=5)), Some(3));
        assert_eq!(common_protocol(&(1..=1), &(1..=1)), Some(1));
        assert_eq!(common_protocol(&(1..=2), &(3..=4)), None);
        assert_eq!(common_protocol(&(5..=6), &(3..=4)), None);
    }
}
