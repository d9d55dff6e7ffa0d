//! The web layer as clients and servers see it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guard;
mod outbound;
mod outbound_limits;
mod surface;
mod trust;
mod upstream;
