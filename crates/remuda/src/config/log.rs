//! `[log]`: what is logged and how it looks.

use serde::Deserialize;
pub use telemetry::LogFormat;

use super::error::ConfigError;
use super::origin::Origins;

/// Logs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// `text` or `json`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or several as in `info,gateway=debug`.
    pub level: String,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

impl LogSection {
    pub(super) fn check(&self, at: &Origins) -> Result<(), ConfigError> {
        if telemetry::is_levels(&self.level) {
            return Ok(());
        }
        Err(at.bad(
            ["log", "level"],
            format!(
                "{:?} is not a level: use error, warn, info, debug or trace, or several as in \"info,gateway=debug\"",
                self.level
            ),
        ))
    }
}
