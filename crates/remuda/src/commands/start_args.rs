//! Flags about the configuration, shared by `up` and `doctor`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use crate::config::{Config, Overrides, parse_address};
use crate::start::opened::Opened;

/// Where the configuration is and what overrides it.
#[derive(Clone, Debug, Args)]
pub(super) struct StartArgs {
    /// The configuration file (TOML). Without it: `REMUDA_CONFIG`, or remuda/remuda.toml in your configuration directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, as 127.0.0.1:11440 or 0.0.0.0:11440.
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// The data directory. Nothing is written elsewhere. Without it: ~/.local/share/remuda.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A model file (GGUF) or directory (safetensors) for the embedded engine. Repeatable.
    #[arg(long = "model", value_name = "PATH")]
    models: Vec<PathBuf>,
    /// A directory all of whose model files the embedded engine serves.
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
}

/// Reads the configuration as `remuda up` does.
pub(super) fn configured(context: &Context, start: StartArgs) -> Result<Config, Failure> {
    Ok(Opened::config(
        &context.environment,
        &start.into_overrides(),
    )?)
}

impl StartArgs {
    pub(super) fn into_overrides(self) -> Overrides {
        Overrides {
            file: self.config,
            listen: self.listen,
            data_dir: self.data,
            models: self.models,
            models_dir: self.models_dir,
        }
    }
}
