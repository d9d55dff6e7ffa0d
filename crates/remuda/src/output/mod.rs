//! What commands show: tables and lines for people, JSON for programs, colours only on a terminal.

mod human;
mod patience;
mod progress;
mod table;
mod wrap;

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

pub(crate) use human::{ago, ahead, bytes, millis_from_micros, minute, rounded, second};
pub(crate) use patience::patiently;
pub(crate) use progress::{Step, TransferProgress};
pub(crate) use table::Columns;
pub(crate) use wrap::wrapped;

use crate::config::Environment;

/// Who reads the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// A person: tables and sentences.
    Person,
    /// A program: one JSON value a line.
    Program,
}

/// Writes a command's results to standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    audience: Audience,
    coloured: bool,
}

/// How a piece of text stands out on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Headings.
    Strong,
    /// Side remarks.
    Faint,
    /// All is well.
    Good,
    /// Worth a look.
    Warning,
    /// Broken.
    Bad,
}

impl Output {
    /// Makes the output for an audience; colours are used on a terminal unless `NO_COLOR` is set.
    pub(crate) fn new(audience: Audience, environment: &Environment) -> Self {
        Self {
            audience,
            coloured: audience == Audience::Person
                && io::stdout().is_terminal()
                && environment.get("NO_COLOR").is_none()
                && environment.get("TERM") != Some("dumb"),
        }
    }

    /// Returns true when a program reads the output.
    pub(crate) fn is_json(self) -> bool {
        self.audience == Audience::Program
    }

    /// Returns true when colours are used.
    pub(crate) fn is_coloured(self) -> bool {
        self.coloured
    }

    /// Writes one JSON value on a line of its own.
    #[expect(
        clippy::unused_self,
        reason = "only who holds an output may write to it"
    )]
    pub(crate) fn json<T: Serialize + ?Sized>(self, value: &T) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer(&mut stdout, value)?;
        writeln!(stdout)?;
        stdout.flush()
    }

    /// Writes bytes as they are.
    #[expect(
        clippy::unused_self,
        reason = "only who holds an output may write to it"
    )]
    pub(crate) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Writes a line.
    #[expect(
        clippy::unused_self,
        reason = "only who holds an output may write to it"
    )]
    pub(crate) fn line(self, text: impl AsRef<str>) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", text.as_ref())?;
        stdout.flush()
    }

    /// Writes `head`, which takes `indent` columns, and `text` behind it, broken between words where the terminal ends.
    pub(crate) fn paragraph(self, head: &str, indent: usize, text: &str) -> io::Result<()> {
        let mut begin = head.to_owned();
        for line in wrapped(text, indent) {
            self.line(format!("{begin}{line}").trim_end())?;
            begin = " ".repeat(indent);
        }
        Ok(())
    }

    /// Writes text without a line end, at once.
    #[expect(
        clippy::unused_self,
        reason = "only who holds an output may write to it"
    )]
    pub(crate) fn text(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Writes bytes as they are.
    #[expect(
        clippy::unused_self,
        reason = "only who holds an output may write to it"
    )]
    pub(crate) fn raw(self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Returns `text` in a tone, or unchanged where colours do not belong.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if !self.coloured {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Writes a remark to standard error, away from the results.
pub(crate) fn remark(text: &str) {
    // Nothing is left to tell anyone when standard error itself is gone.
    drop(writeln!(io::stderr().lock(), "{text}"));
}
