//! `remuda secrets`: the key that seals what is stored.

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::context::Context;
use super::failure::Failure;
use crate::output::remark;

/// Replaces the key that seals stored secrets.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda secrets rotate

Where the key stands in the data directory (sealing.key) a fresh one is made and everything is sealed with it. Where the
configuration gives it: set [store] encryption_key to the new key and previous_encryption_keys to the old one everywhere,
start again, then run this.")]
pub(super) struct Secrets {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Seal all stored secrets with another key, while the server runs.
    Rotate,
}

#[derive(Deserialize)]
struct Rotation {
    key_id: String,
    previous_key_id: String,
    resealed: u64,
    unreadable: u64,
}

impl Secrets {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let Action::Rotate = self.action;
        let api = context.api()?;
        let answer = api.poke("/api/v1/system/secrets/rotate").await?;
        if context.out.is_json() {
            return Ok(context.out.json(&answer)?);
        }
        let rotation: Rotation = api.decode(answer)?;
        let key = if rotation.key_id == rotation.previous_key_id {
            format!("the configured key {}", rotation.key_id)
        } else {
            format!(
                "the new key {} in place of {}",
                rotation.key_id, rotation.previous_key_id
            )
        };
        context
            .out
            .line(format!("Sealed {} secrets with {key}.", rotation.resealed))?;
        if rotation.unreadable > 0 {
            remark(&format!(
                "{} secrets could not be opened with any known key: enter those credentials again",
                rotation.unreadable
            ));
        }
        remark("Backups made so far stay sealed with the earlier key: keep it with them.");
        Ok(())
    }
}
