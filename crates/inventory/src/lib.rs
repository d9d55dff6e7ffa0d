//! The hardware inventory: parts with serial numbers (widgets), their ports, and how the ports are joined.
//!
//! Calls are single for whoever makes them. Inside, those that wait at the same time are carried out in one transaction: the rows that
//! they name are locked, what becomes of each call is decided in memory ([`decide`]), and all changes are written by a few statements and
//! made to last by one commit. No call is answered before that commit. The database holds every rule by itself, too.
//!
//! No call may be lost once it was answered, nor change anything when it was refused.

mod access;
mod admission;
mod batch;
mod check;
mod config;
mod decide;
mod desk;
mod export;
mod graph;
mod group;
mod hardware;
mod import;
mod import_lines;
mod import_records;
mod list;
mod metrics;
mod model;
mod numbers;
mod refusal;
mod routes;
mod statistics;
mod store;
mod surface;
mod tray;

pub use config::InventoryConfig;
pub use desk::Desk;
pub use import_records::first_record;
pub use list::ReadError;
pub use model::{NewWidget, Operation, OperationKind, Pair, Port, Ports, UnknownPort, Widget};
pub use refusal::{CallError, Refusal};
pub use surface::{Inventory, InventoryDeps};
