//! Logs: structured events on standard error, text for people or one JSON object a line.
//!
//! Secrets cannot get here by accident: they travel as [`primitives::Secret`], which shows nothing.

mod line_buffer;
mod plain;

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSection};
use line_buffer::LineBuffer;
pub use line_buffer::LogGuard;
use plain::Plain;

/// Starts logging for the whole process. Later calls change nothing: the first configuration counts.
///
/// Lines are written by a thread of their own; the last ones when the guard is dropped.
pub fn install(log: &LogSection) -> io::Result<LogGuard> {
    let (lines, guard) = LineBuffer::start()?;
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(move || lines.clone());
    let installed = match log.format {
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
