//! `remuda rollout`: new versions of models, a few callers at a time.

mod show;
mod start;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;

const ROLLOUTS: &str = "/api/v1/rollouts";

/// Gives a name's callers a new version of its model, a few first, and takes it back when it fails.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda rollout start llama3.2:3b --to llama3.2:3b-q8
  remuda rollout start llama3.2:3b --to llama3.2:3b-q8 --stages node,10,50,100 --hold 30m --max-error-rate 2% --max-slower 1.5
  remuda rollout show llama3.2:3b           stage, share, what was seen of both versions, what it waits for
  remuda rollout promote llama3.2:3b        the next stage begins now
  remuda rollout pause llama3.2:3b          it stays where it is; it is still taken back where it fails
  remuda rollout abort llama3.2:3b          all callers get the old version at once
  remuda rollout close llama3.2:3b          it decides no more, once the configuration says what it said")]
pub(super) struct Rollout {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start to roll a new version out.
    Start(start::Start),
    /// List roll-outs, the newest first.
    #[command(visible_alias = "ls")]
    List(show::List),
    /// Show one: its stage, what was seen of both versions, and what it waits for.
    Show {
        /// The model, or the roll-out's id.
        rollout: String,
    },
    /// Begin the next stage, whatever was seen in this one.
    Promote {
        /// The model, or the roll-out's id.
        rollout: String,
        /// Go to the last stage at once.
        #[arg(long)]
        all: bool,
    },
    /// Stay in the present stage.
    Pause {
        /// The model, or the roll-out's id.
        rollout: String,
    },
    /// Let one that is paused go on.
    Resume {
        /// The model, or the roll-out's id.
        rollout: String,
    },
    /// Give all callers the old version at once. Nothing is deleted.
    Abort {
        /// The model, or the roll-out's id.
        rollout: String,
    },
    /// Have one that has ended decide no more.
    Close {
        /// The model, or the roll-out's id.
        rollout: String,
    },
}

impl Rollout {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Start(start) => start.run(context).await,
            Action::List(list) => list.run(context).await,
            Action::Show { rollout } => show::one(context, &rollout).await,
            Action::Promote { rollout, all } => {
                change(context, &rollout, "promote", Some(json!({"all": all}))).await
            }
            Action::Pause { rollout } => change(context, &rollout, "pause", None).await,
            Action::Resume { rollout } => change(context, &rollout, "resume", None).await,
            Action::Abort { rollout } => change(context, &rollout, "abort", None).await,
            Action::Close { rollout } => change(context, &rollout, "close", None).await,
        }
    }
}

async fn change(
    context: &Context,
    rollout: &str,
    verb: &str,
    body: Option<Value>,
) -> Result<(), Failure> {
    let api = context.api()?;
    let path = format!("{}/{verb}", path(rollout));
    let changed = match body {
        Some(body) => api.post(&path, &body).await?,
        None => api.poke(&path).await?,
    };
    show::tell(context, changed)
}

fn path(rollout: &str) -> String {
    let segment: String = url::form_urlencoded::byte_serialize(rollout.as_bytes()).collect();
    format!("{ROLLOUTS}/{segment}")
}
