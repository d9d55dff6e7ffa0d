//! The real binary, as a person uses it: its words, its exit codes, its life from start to signal.

mod harness;

mod clients;
mod command_line;
mod lifecycle;
mod refusals;
