//! `remuda inventory`: parts with serial numbers, and how their ports are joined.

mod change;
mod import;
mod load;
mod look;
mod pieces;
mod progress;
mod transfer;

use clap::{Args, Subcommand};

use super::context::Context;
use super::failure::Failure;

/// Keeps the inventory of parts: makes and removes them, joins their ports, finds, imports and exports them.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda inventory add NIC-0001 \"25 GbE card\" --ports PPR
  remuda inventory associate NIC-0001 CHASSIS-07 P
  remuda inventory show NIC-0001
  remuda inventory list --free R --prefix NIC-
  remuda inventory path NIC-0001 DRIVE-12
  remuda inventory import parts.csv
  remuda inventory export > parts.jsonl
  remuda inventory check
  remuda inventory load --rate 5000 --connections 64 --duration 60s --plot load.svg")]
pub(super) struct Inventory {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a widget.
    Add(change::Add),
    /// Remove a widget, and free those that it is joined with.
    Remove(change::Remove),
    /// Join a free slot of each of two widgets.
    Associate(change::Pair),
    /// Part two widgets that are joined on a port.
    Disassociate(change::Pair),
    /// Show a widget, its partners, and what hangs together with it.
    Show(look::Show),
    /// List widgets, sorted by serial number.
    #[command(visible_alias = "ls")]
    List(look::List),
    /// Find the shortest way between two widgets.
    Path(look::Path),
    /// Count widgets, slots and associations.
    Stats,
    /// Look for associations that stand on one side only; fails when there are some.
    Check,
    /// Show or say what a node is made of.
    Hardware(look::Hardware),
    /// Take widgets and associations in from a file.
    Import(import::Import),
    /// Write widgets and associations to standard output.
    Export(transfer::Export),
    /// Measure the inventory under load.
    Load(load::Load),
}

impl Inventory {
    /// Tells whether this is the load generator.
    pub(super) const fn is_load(&self) -> bool {
        matches!(self.action, Action::Load(_))
    }

    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Add(command) => command.run(context).await,
            Action::Remove(command) => command.run(context).await,
            Action::Associate(command) => command.associate(context).await,
            Action::Disassociate(command) => command.disassociate(context).await,
            Action::Show(command) => command.run(context).await,
            Action::List(command) => command.run(context).await,
            Action::Path(command) => command.run(context).await,
            Action::Stats => look::stats(context).await,
            Action::Check => look::check(context).await,
            Action::Hardware(command) => command.run(context).await,
            Action::Import(command) => command.run(context).await,
            Action::Export(command) => command.run(context).await,
            Action::Load(command) => Box::pin(command.run(context)).await,
        }
    }
}
