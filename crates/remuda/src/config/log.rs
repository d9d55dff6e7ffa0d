//! `[log]`: what is logged and how it looks.

use serde::Deserialize;

use super::error::ConfigError;
use super::origin::Origins;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

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
        tracing_subscriber::EnvFilter::try_new(&self.level)
            .map(drop)
            .map_err(|_| {
                at.bad(
                    ["log", "level"],
                    format!(
                        "{:?} is not a level: use error, warn, info, debug or trace, or several as in \"info,gateway=debug\"",
                        self.level
                    ),
                )
            })
    }
}
