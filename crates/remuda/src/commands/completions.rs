//! `remuda completions`: a completion script for a shell.

use clap::Args;
use clap_complete::Shell;

use super::context::Context;
use super::failure::Failure;

/// Prints a completion script.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda completions bash > /etc/bash_completion.d/remuda
  remuda completions zsh > \"${fpath[1]}/_remuda\"
  remuda completions fish > ~/.config/fish/completions/remuda.fish")]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut super::command_line(),
            "remuda",
            &mut script,
        );
        Ok(context.out.raw(&script)?)
    }
}
