//! The real binary, as a person uses it: its words, its exit codes, its life from start to signal.

#[cfg(test)]
mod harness;

#[cfg(test)]
mod clients;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod refusals;
