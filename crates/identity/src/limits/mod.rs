//! How much callers may use: requests and tokens in a minute, tokens in a month. Clocked; nothing here reads the database.
//!
//! What a request will cost is not known when it is let in, so its tokens are reserved by an estimate and settled when it has ended.

mod bucket;
mod headers;
mod limiter;
mod shared;

pub use headers::{LimitHeaders, Window};
pub use limiter::month_start;
pub use limiter::{Claim, LimitKind, Limiter, Refused, Reservation, Subject};
