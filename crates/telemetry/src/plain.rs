//! The text form of a log line for files and pipes: `time level target: message name=value …`, without colours.
//!
//! Looks like `tracing_subscriber`'s own form and costs a third of it: every request writes a line, so this is on the way of
//! every request. Control characters in values are escaped: what comes from outside cannot forge a line or move a terminal.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes events as plain text lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut line)?;
        let metadata = event.metadata();
        write!(line, " {:>5} ", metadata.level().as_str())?;
        line.write_str(metadata.target())?;
        line.write_char(':')?;
        let mut fields = Fields {
            line: Escaping(line),
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        fields.line.0.write_char('\n')
    }
}

/// Writes fields as ` name=value`, the message as itself.
struct Fields<'a> {
    line: Escaping<'a>,
    result: fmt::Result,
}

impl Fields<'_> {
    fn name(&mut self, field: &Field) -> fmt::Result {
        let line = &mut self.line.0;
        line.write_char(' ')?;
        if field.name() == "message" {
            return Ok(());
        }
        line.write_str(field.name())?;
        line.write_char('=')
    }

    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Escaping<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            self.result = self.name(field).and_then(|()| value(&mut self.line));
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.write(field, |line| line.write_str(value));
        } else {
            self.write(field, |line| write!(line, "{value:?}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, |line| write!(line, "{value:?}"));
    }
}

/// Writes text with its control characters escaped.
struct Escaping<'a>(Writer<'a>);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The first byte of any control character, and of some others: most text has none and goes on whole.
        let suspicious = |byte: u8| byte < b' ' || byte == 0x7f || byte == 0xc2;
        if !text.bytes().any(suspicious) {
            return self.0.write_str(text);
        }
        let mut rest = text;
        while let Some(at) = rest.find(char::is_control) {
            let (before, from) = rest.split_at(at);
            self.0.write_str(before)?;
            let mut characters = from.chars();
            if let Some(control) = characters.next() {
                write!(self.0, "{}", control.escape_default())?;
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the line without its time.
    fn logged(event: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(Plain)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, event);
        let bytes = lines.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        let (time, rest) = text.split_at(27);
        assert!(time.ends_with('Z'), "{text}");
        rest.to_owned()
    }

    #[test]
    fn a_line_has_level_target_message_and_fields() {
        let line = logged(|| {
            tracing::info!(
                target: "remuda::request",
                id = %"7",
                caller = "ann \"x\"",
                status = 200u16,
                stream = true,
                first_token_ms = Some(1.5),
                error = None::<&str>,
                "request"
            );
        });
        assert_eq!(
            line,
            "  INFO remuda::request: request id=7 caller=\"ann \\\"x\\\"\" status=200 stream=true first_token_ms=1.5\n"
        );
    }

    #[test]
    fn nothing_from_outside_makes_a_second_line_or_moves_the_terminal() {
        let forged = "x\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J";
        let line = logged(|| tracing::warn!(a = %forged, b = forged, c = ?forged, "{forged}"));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
        assert!(line.contains("a=x\\n2026"), "{line}");
    }
}
