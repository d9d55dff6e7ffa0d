//! `remuda placement`: where models are wanted, and what is done about it.

mod actions;
mod plan;
mod policy;

use clap::{Args, Subcommand};

use super::context::Context;
use super::failure::Failure;

/// Says where models are wanted, shows the plan that brings it about, and has it carried out.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda placement set llama3.2:3b --on-disk 3 --loaded 1 --tag gpu
  remuda placement plan                     what would be done, where, why
  remuda placement apply                    do all of it
  remuda placement set llama3.2:3b --mode auto --on-disk 3 --loaded 1 --max-loaded 4
  remuda placement set qwen3:32b --pin gpu1 --keep-warm
  remuda placement actions --status running
  remuda placement cancel ID
  remuda placement unset llama3.2:3b        want nothing any more; what is there stays")]
pub(super) struct Placement {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what would bring the fleet to what is wanted of it. Does nothing.
    Plan,
    /// Have the plan carried out: all of it, or chosen actions.
    Apply {
        /// The id of an action in the plan, as `remuda placement plan --json` shows it. Repeatable.
        #[arg(value_name = "ID")]
        ids: Vec<String>,
    },
    /// Show what is wanted of models.
    #[command(visible_alias = "ls")]
    Show {
        /// One model.
        model: Option<String>,
    },
    /// Say what is wanted of a model, in place of what was.
    Set(Box<policy::Set>),
    /// Want nothing of a model any more. What is there stays as it is.
    Unset {
        /// The model.
        model: String,
    },
    /// List what is done, and was, the newest first.
    Actions(actions::List),
    /// Call an action off, also while it is carried out.
    Cancel {
        /// Its id.
        id: String,
    },
}

impl Placement {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::Plan => plan::show(context).await,
            Action::Apply { ids } => plan::apply(context, &ids).await,
            Action::Show { model } => policy::show(context, model.as_deref()).await,
            Action::Set(set) => set.run(context).await,
            Action::Unset { model } => policy::unset(context, &model).await,
            Action::Actions(list) => list.run(context).await,
            Action::Cancel { id } => actions::cancel(context, &id).await,
        }
    }
}
