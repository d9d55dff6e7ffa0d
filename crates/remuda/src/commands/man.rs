//! `remuda man`: the manual, generated from the same definitions as `--help`.

use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::failure::Failure;

/// Prints or writes manual pages.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda man | man -l -
  remuda man --out /usr/local/share/man/man1")]
pub(super) struct Man {
    /// Write one page for each command into this directory in place of printing the main page.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        if let Some(directory) = &self.out {
            return clap_mangen::generate_to(super::command_line(), directory).map_err(|error| {
                Failure::Usage(format!(
                    "cannot write manual pages to {}: {error}",
                    directory.display()
                ))
            });
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(super::command_line()).render(&mut page)?;
        Ok(context.out.raw(&page)?)
    }
}
