//! The command line: one file a command. Nearly every command but `up` is a client of the HTTP API.

mod agent;
mod agent_announce;
mod agent_release;
mod agent_rollout;
mod agent_update;
mod answer;
mod audit;
mod backup;
mod batch;
mod chat;
mod completions;
mod context;
mod cp;
mod create;
mod db;
mod doctor;
mod failure;
mod graphql;
mod id_path;
mod inventory;
mod invitation;
mod jobs;
mod key;
mod login;
mod login_by_provider;
mod logout;
mod man;
mod model_choice;
mod modelfile;
mod models;
mod node;
mod node_agent;
mod node_discovered;
mod options;
mod own_password;
mod password;
mod placement;
mod ps;
mod pull;
mod push;
mod register;
mod requests;
mod residency;
mod rm;
mod role;
mod rollout;
mod run;
mod secrets;
mod session;
mod setting;
mod setup;
mod show;
mod signals;
mod simulate;
mod start_args;
mod status;
mod totp;
mod transfer;
mod up;
mod usage;
mod user;
mod watch;
mod whoami;
mod why;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::client::ServerAddress;
use crate::config::Environment;
use crate::output::remark;
use context::Context;
use failure::Failure;

/// One endpoint, one control plane and one dashboard for all your LLM servers.
///
/// `remuda up` starts the gateway on this machine with an embedded database and an embedded model. Point any Ollama or
/// OpenAI client at it, add servers with `remuda node add`, and ask `remuda why ID` where an answer came from.
#[derive(Debug, Parser)]
#[command(
    name = "remuda",
    version = agent_proto::program_version(),
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_long_help = "Examples:
  remuda up                                   start everything on 127.0.0.1:11440
  remuda run remuda-demo \"What is Remuda?\"    ask a model one question
  remuda chat                                 talk to a model
  remuda node add gpu1 http://gpu1:11434      put a server behind the endpoint
  remuda node invite gpu2                     have a machine behind NAT join by `remuda agent`
  remuda models                               show what the whole fleet can run
  remuda why ID                               explain where a request went, and why

Environment:
  REMUDA_HOST              the server that commands talk to (as --server)
  REMUDA_CA_FILE           certificate authorities that vouch for the server (as --ca-file)
  REMUDA_API_KEY           the key that commands present, in place of `remuda login`
  REMUDA_CONFIG            the configuration file of `remuda up` (as --config)
  REMUDA_ADMIN_PASSWORD    makes the administrator `admin` with this password at the start of `remuda up`;
                           where `admin` is there with another one, it is replaced, at every start
  REMUDA_SECTION__KEY      any configuration key, as in REMUDA_STORE__URL
  NO_COLOR                 turns colours off

Exit codes: 0 done, 1 the server or a node said no, 2 wrong usage or configuration, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct GlobalArgs {
    /// The server to talk to: a URL, HOST:PORT or HOST.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "REMUDA_HOST",
        default_value = "http://127.0.0.1:11440",
        help_heading = "Global options"
    )]
    server: ServerAddress,
    /// A PEM file with certificate authorities that vouch for the server, beside the public ones.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "REMUDA_CA_FILE",
        help_heading = "Global options"
    )]
    ca_file: Option<PathBuf>,
    /// Write JSON for programs in place of tables and sentences.
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start Remuda on this machine: gateway, control plane, embedded engine.
    #[command(visible_alias = "serve")]
    Up(up::Up),
    /// Make the first administrator with the set-up token that the first start printed.
    Setup(setup::Setup),
    /// Sign in and keep the session for later commands.
    Login(login::Login),
    /// End the session and forget it.
    Logout(logout::Logout),
    /// Make your own account, where the server lets you.
    Register(register::Register),
    /// Change your password, or reset a lost one.
    Password(own_password::Password),
    /// Set up and remove your second factor.
    Totp(totp::Totp),
    /// Show who you are to the server.
    Whoami(whoami::Whoami),
    /// List and end your sessions.
    Session(session::Session),
    /// List, make and change people.
    User(user::User),
    /// List, make and change roles of your organisation.
    Role(role::Role),
    /// Let people make their own accounts.
    Invitation(invitation::Invitation),
    /// Show, export and verify who changed what.
    Audit(audit::Audit),
    /// Make, list, change and revoke API keys.
    Key(key::Key),
    /// Show and change settings that apply while the server runs.
    Setting(setting::Setting),
    /// Ask the control plane in GraphQL.
    Graphql(graphql::Graphql),
    /// Bring the schema up to date, and look after the database.
    Db(db::Db),
    /// Make, check and restore backups of the database.
    Backup(backup::Backup),
    /// Replace the key that seals stored secrets.
    Secrets(secrets::Secrets),
    /// Add, list, drain and remove the servers behind the endpoint.
    Node(node::Node),
    /// Make this machine a node: beside its model server, linked to a Remuda elsewhere.
    Agent(agent::AgentCommand),
    /// Sign later versions of the agent, and bring them to the server.
    AgentRelease(agent_release::AgentRelease),
    /// Give agents a later version, one first.
    AgentRollout(agent_rollout::AgentRollout),
    /// List the models of the whole fleet.
    #[command(visible_alias = "list")]
    Models(models::Models),
    /// Show one model.
    Show(show::Show),
    /// List the models that are in memory now.
    Ps(ps::Ps),
    /// Load a model into memory.
    Load(residency::Load),
    /// Take a model out of memory.
    Stop(residency::Stop),
    /// Fetch a model onto nodes.
    Pull(pull::Pull),
    /// Send a model to a registry.
    Push(push::Push),
    /// Make a model out of another one.
    Create(create::Create),
    /// Remove a model from nodes.
    Rm(rm::Rm),
    /// Copy a model under another name.
    Cp(cp::Cp),
    /// Say where models are wanted, and see to it.
    Placement(placement::Placement),
    /// Roll a new version of a model out, a few callers at a time.
    Rollout(rollout::Rollout),
    /// Ask a model one question.
    Run(run::Run),
    /// Talk to a model.
    Chat(chat::Chat),
    /// List recent requests.
    Requests(requests::Requests),
    /// Explain one request: where it went, why, and how long each part took.
    Why(why::Why),
    /// List, follow and call off answers that are made in the background.
    Jobs(jobs::Jobs),
    /// Show what came of requests, by the hour, day or week.
    Usage(usage::Usage),
    /// Have the requests of a file answered.
    Batch(batch::Batch),
    /// Keep the inventory of parts: make, join, find, import, measure.
    Inventory(inventory::Inventory),
    /// Show events as they happen.
    Watch(watch::Watch),
    /// Replay recorded requests over a described fleet and compare routing policies.
    Simulate(simulate::Simulate),
    /// Show whether the server and its parts are well.
    #[command(visible_alias = "health")]
    Status(status::Status),
    /// Check configuration, ports, data directory, database and nodes, and say what to do.
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell.
    Completions(completions::Completions),
    /// Print the manual page, or write one page for each command.
    Man(man::Man),
}

/// Runs the command line and returns the exit code.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            tell_usage(&error);
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let context = Context::new(
        Environment::of_process(),
        cli.global.server,
        cli.global.ca_file,
        cli.global.json,
    );
    match cli.command.run(&context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Shows help, or what is wrong with the arguments; a wrong value is one line.
fn tell_usage(error: &clap::Error) {
    let text = error.render();
    match (error.kind(), text.to_string().lines().next()) {
        (ErrorKind::ValueValidation, Some(line)) => remark(line),
        // Help and version are errors to clap too; when the stream is gone there is nobody to tell.
        _ => drop(error.print()),
    }
}

/// Returns the whole command line as clap knows it, for completions and manual pages.
fn command_line() -> clap::Command {
    Cli::command()
}

impl Command {
    fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Up(command) => command.run(context),
            Self::Completions(command) => command.run(context),
            Self::Man(command) => command.run(context),
            client => {
                let mut builder = if client.is_load() {
                    tokio::runtime::Builder::new_multi_thread()
                } else {
                    tokio::runtime::Builder::new_current_thread()
                };
                let runtime = builder.enable_all().build().map_err(Failure::Runtime)?;
                let result = runtime.block_on(Box::pin(client.call(context)));
                // A thread may still wait for a line of input; nobody needs it any more.
                runtime.shutdown_background();
                result
            }
        }
    }

    /// Tells whether this makes thousands of calls at the same time. One thread among those of a busy server would measure itself.
    const fn is_load(&self) -> bool {
        matches!(self, Self::Inventory(command) if command.is_load())
    }

    async fn call(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Setup(command) => command.run(context).await,
            Self::Login(command) => command.run(context).await,
            Self::Logout(command) => command.run(context).await,
            Self::Whoami(command) => command.run(context).await,
            Self::Session(command) => command.run(context).await,
            Self::Register(command) => command.run(context).await,
            Self::Password(command) => command.run(context).await,
            Self::Totp(command) => command.run(context).await,
            Self::User(command) => command.run(context).await,
            Self::Role(command) => command.run(context).await,
            Self::Invitation(command) => command.run(context).await,
            Self::Audit(command) => command.run(context).await,
            Self::Key(command) => command.run(context).await,
            Self::Setting(command) => command.run(context).await,
            Self::Graphql(command) => command.run(context).await,
            Self::Db(command) => Box::pin(command.run(context)).await,
            Self::Backup(command) => Box::pin(command.run(context)).await,
            Self::Secrets(command) => command.run(context).await,
            Self::Node(command) => command.run(context).await,
            Self::Agent(command) => Box::pin(command.run(context)).await,
            Self::AgentRelease(command) => command.run(context).await,
            Self::AgentRollout(command) => command.run(context).await,
            Self::Models(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
            Self::Ps(command) => command.run(context).await,
            Self::Load(command) => command.run(context).await,
            Self::Stop(command) => command.run(context).await,
            Self::Pull(command) => command.run(context).await,
            Self::Push(command) => command.run(context).await,
            Self::Create(command) => command.run(context).await,
            Self::Rm(command) => command.run(context).await,
            Self::Cp(command) => command.run(context).await,
            Self::Placement(command) => command.run(context).await,
            Self::Rollout(command) => command.run(context).await,
            Self::Run(command) => command.run(context).await,
            Self::Chat(command) => command.run(context).await,
            Self::Requests(command) => command.run(context).await,
            Self::Usage(command) => command.run(context).await,
            Self::Why(command) => command.run(context).await,
            Self::Jobs(command) => command.run(context).await,
            Self::Batch(command) => command.run(context).await,
            Self::Inventory(command) => command.run(context).await,
            Self::Watch(command) => command.run(context).await,
            Self::Simulate(command) => command.run(context).await,
            Self::Status(command) => command.run(context).await,
            Self::Doctor(command) => command.run(context).await,
            Self::Up(_) | Self::Completions(_) | Self::Man(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
