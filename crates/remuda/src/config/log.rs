//! `[log]`: what is logged and how it looks.

use serde::Deserialize;
use tracing_subscriber::filter::LevelFilter;

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
        if self.level.split(',').all(is_directive) {
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

/// Accepts `level` and `target=level`; a filter would take any other word for a target and stay silent.
fn is_directive(text: &str) -> bool {
    let (target, level) = text.rsplit_once('=').unwrap_or(("all", text));
    !target.trim().is_empty()
        && !target.contains('=')
        && level.trim().parse::<LevelFilter>().is_ok()
}
