//! The test bed itself behaves as its users believe.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod continuation;
mod faults;
mod shapes;
mod systems;
