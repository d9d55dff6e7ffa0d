//! The log: structured events on standard error, text for people or one JSON object a line.
//!
//! Every request writes a line, so what formats it is a crate of its own, which is optimised as the request path is.
//! Secrets cannot get here by accident: they travel as `primitives::Secret`, which shows nothing.

mod line_buffer;
mod plain;

use std::io::{self, IsTerminal as _};

use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt as _;

use line_buffer::LineBuffer;
pub use line_buffer::LogGuard;
use plain::Plain;

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

/// Starts logging for the whole process. Later calls change nothing: the first configuration counts.
///
/// What is logged are the directives of `levels`, which [`is_levels`] accepts. Lines are written by a thread of their own; the last ones
/// when the guard is dropped.
///
/// # Errors
/// When the thread cannot be started.
pub fn install(format: LogFormat, levels: &str) -> io::Result<LogGuard> {
    let (lines, guard) = LineBuffer::start()?;
    let filter = EnvFilter::try_new(levels).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(move || lines.clone());
    let installed = match format {
        LogFormat::Text if io::stderr().is_terminal() => builder.finish().try_init(),
        LogFormat::Text => builder
            .with_ansi(false)
            .event_format(Plain)
            .finish()
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logging was set up before");
    }
    Ok(guard)
}

/// Accepts `error`, `warn`, `info`, `debug` and `trace`, or several with targets as in `info,gateway=debug`.
pub fn is_levels(text: &str) -> bool {
    text.split(',').all(is_directive)
}

/// Accepts `level` and `target=level`; a filter would take any other word for a target and stay silent.
fn is_directive(text: &str) -> bool {
    let (target, level) = text.rsplit_once('=').unwrap_or(("all", text));
    !target.trim().is_empty()
        && !target.contains('=')
        && level.trim().parse::<LevelFilter>().is_ok()
}
