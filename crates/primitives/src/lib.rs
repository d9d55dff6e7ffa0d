//! The closed list of types that every Remuda crate shares: typed ids, time, secrets, error kinds, pages.
//!
//! No I/O and no async code stands here. A type belongs here only when at least two domains exchange it.

mod clock;
mod error;
mod ids;
mod page;
mod secret;

pub use clock::{Clock, ManualClock, MonotonicTime, SystemClock, Timestamp};
pub use error::{Classify, ErrorKind};
pub use ids::{
    InvitationId, JobId, KeyId, NodeId, OrgId, ParseIdError, RequestId, RolloutId, SessionId,
    UserId,
};
pub use page::{COUNTED, Cursor, InvalidCursor, Page, PageRequest};
pub use secret::Secret;
