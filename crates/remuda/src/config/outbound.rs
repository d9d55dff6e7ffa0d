//! `[outbound]`: how Remuda calls its nodes.

use std::path::PathBuf;

use serde::Deserialize;

/// Calls to nodes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboundSection {
    /// A PEM file with certificate authorities that vouch for nodes called by https, beside the public ones.
    pub ca_file: Option<PathBuf>,
}
