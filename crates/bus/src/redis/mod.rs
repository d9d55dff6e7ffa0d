//! Through Redis: one connection for calls, which all share, and one for messages.

mod link;
mod messages;

pub(crate) use link::Redis;
