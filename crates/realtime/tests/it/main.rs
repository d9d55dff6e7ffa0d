//! The hub over real sockets, with real callers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod access;
mod bad_input;
mod ends;
mod handshake;
mod listener;
mod resume;
mod slow;
mod world;
