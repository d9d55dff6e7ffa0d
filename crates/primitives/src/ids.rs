//! One type per id, so that a node's id cannot be passed for a user's. Alphabetical; only ever appended to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

/// The text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id: expected a UUID")]
pub struct ParseIdError;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Makes an id that sorts by `now` (UUID version 7) with random low bits.
            pub fn generate(now: Timestamp) -> Self {
                let micros = u64::try_from(now.as_micros()).unwrap_or(0);
                let stamp = uuid::Timestamp::from_unix(
                    uuid::NoContext,
                    micros / 1_000_000,
                    u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000,
                );
                Self(Uuid::new_v7(stamp))
            }

            /// Returns an id that sorts before every one made at `at` or later, and after every one made a millisecond before.
            pub fn first_at(at: Timestamp) -> Self {
                let millis = u64::try_from(at.as_micros() / 1_000).unwrap_or(0);
                Self(Uuid::from_u128(u128::from(millis) << 80))
            }

            /// Wraps a UUID that is known to be one of these.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Returns the UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError)
            }
        }
    )*};
}

ids! {
    /// An invitation to join an organisation (its row, not its secret).
    InvitationId
    /// A piece of durable work.
    JobId
    /// An API key (its row, not its secret).
    KeyId
    /// A node: any server that Remuda health-checks and can talk to.
    NodeId
    /// An organisation.
    OrgId
    /// One inference call.
    RequestId
    /// A staged roll-out of a model's new version.
    RolloutId
    /// A signed-in session.
    SessionId
    /// A person.
    UserId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_survive_text() {
        let a = NodeId::generate(Timestamp::from_micros(1_000_000));
        let b = NodeId::generate(Timestamp::from_micros(2_000_000));
        assert!(a < b);
        assert_eq!(a.to_string().parse(), Ok(a));
        assert!(NodeId::first_at(Timestamp::from_micros(2_000_000)) < b);
        assert!(NodeId::first_at(Timestamp::from_micros(2_000_000)) > a);
        assert_eq!("x".parse::<NodeId>(), Err(ParseIdError));
    }
}
