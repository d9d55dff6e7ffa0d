//! The only way out: an HTTP client that refuses dangerous addresses, bounds every wait and every body, and follows no redirect.
//!
//! Connections go to exactly the address that was checked, so a name that resolves differently a moment later gains nothing.

mod answer;
mod call;
mod client;
mod connector;
mod error;
mod reach;
mod trust;
mod way;

pub use answer::{Answer, AnswerBody};
pub use call::{Call, CallBody};
pub use client::{Client, ClientConfig};
pub use error::{OutboundError, certificate_fault};
pub use reach::{Reach, Refusal};
pub use trust::{Trust, TrustError};
pub use way::{Opening, Way, WayStream};
