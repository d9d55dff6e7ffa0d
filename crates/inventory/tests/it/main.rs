//! The inventory over real databases, through its routes and its own calls.

mod app;
mod backups;
mod bad_input;
mod crowd;
mod histories;
mod model;
mod reading;
mod rpc;
mod rules;
