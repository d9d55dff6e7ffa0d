//! `remuda db`: the database, its schema and its care.

mod schema;
mod server;

use clap::{Args, Subcommand};

use super::context::Context;
use super::failure::Failure;
use super::start_args::StartArgs;

/// Brings the schema up to date, and looks after the database.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda db status
  remuda db migrate --config /etc/remuda.toml
  remuda db health
  remuda db clean

status, check and migrate open the configured database themselves; the others ask the server.")]
pub(super) struct Db {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show which steps of the schema the database has.
    Status {
        #[command(flatten)]
        start: StartArgs,
    },
    /// Apply the steps that are missing. `remuda up` does so, too.
    Migrate {
        #[command(flatten)]
        start: StartArgs,
    },
    /// Exit with 1 unless the database has exactly this build's schema.
    Check {
        #[command(flatten)]
        start: StartArgs,
    },
    /// Show how the database is: size, connections, hit rates.
    Health,
    /// List the statements that take longest (PostgreSQL with `pg_stat_statements`).
    Slow,
    /// List the tables with their sizes.
    Tables,
    /// Count what is in the database.
    Stats,
    /// Remove expired sessions, invitations and the like.
    Clean,
}

impl Db {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Status { start } => Box::pin(schema::status(context, start)).await,
            Action::Migrate { start } => schema::migrate(context, start).await,
            Action::Check { start } => Box::pin(schema::check(context, start)).await,
            Action::Health => server::health(context).await,
            Action::Slow => server::slow(context).await,
            Action::Tables => server::tables(context).await,
            Action::Stats => server::stats(context).await,
            Action::Clean => server::clean(context).await,
        }
    }
}
