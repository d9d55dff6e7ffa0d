//! Remuda's program: configuration, start-up in order, lifecycle and the command line.
//!
//! `remuda up` runs every part in one process ([`start()`]); other commands are clients of the HTTP API. No rule of
//! any domain stands here: this crate reads what a person wants, wires the crates together and shows what they say.

mod client;
mod commands;
pub mod config;
mod output;
mod rest;
mod start;

use std::ffi::OsString;
use std::process::ExitCode;

pub use start::{Found, FoundModel, FoundNode, RefusedModel, Running, StartError, start};

/// Runs the command line `arguments`, the program's name first, and returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    commands::run(arguments)
}
