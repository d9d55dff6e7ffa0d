//! The line on which a person types: editing, history, messages of several lines.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Helper};

use super::super::failure::Failure;
use super::COMMANDS;
use super::messages::{Heard, Message, is_open};
use crate::config::Environment;

/// The most messages that are remembered.
const MOST_REMEMBERED: usize = 1_000;

/// Where earlier messages are.
#[derive(Debug)]
pub(super) enum History {
    /// In a file that only its owner can read.
    Kept(PathBuf),
    /// Nowhere.
    Forgotten,
}

impl History {
    /// Returns the user's history, or none without a home directory.
    pub(super) fn of_user(environment: &Environment) -> Self {
        environment.state_home().map_or(Self::Forgotten, |home| {
            Self::Kept(home.join("remuda").join("chat_history"))
        })
    }
}

/// The editor.
pub(super) struct Editor {
    lines: rustyline::Editor<Rules, DefaultHistory>,
    history: History,
}

impl Editor {
    /// Makes an editor and reads what is remembered; a history that cannot be read is an empty one.
    pub(super) fn new(history: History) -> Result<Self, Failure> {
        let config = Config::builder()
            .max_history_size(MOST_REMEMBERED)
            .map(rustyline::config::Builder::build)
            .map_err(|error| unusable(&error))?;
        let mut lines = rustyline::Editor::with_config(config).map_err(|error| unusable(&error))?;
        lines.set_helper(Some(Rules));
        if let History::Kept(file) = &history {
            drop(lines.load_history(file));
        }
        Ok(Self { lines, history })
    }

    /// Lets a person type a message.
    pub(super) fn read(&mut self) -> Heard {
        match self.lines.readline("> ") {
            Ok(text) => {
                let message = Message::of(&text);
                if !message.text.is_empty() {
                    self.remember(text);
                }
                Heard::Message(message)
            }
            Err(ReadlineError::Interrupted) => Heard::Interrupt,
            Err(_) => Heard::End,
        }
    }

    /// Keeps a message for later conversations. One that cannot be kept is no reason to end this one.
    fn remember(&mut self, text: String) {
        let is_new = self.lines.add_history_entry(text).unwrap_or(false);
        if let History::Kept(file) = &self.history
            && is_new
        {
            if let Some(directory) = file.parent() {
                drop(
                    fs::DirBuilder::new()
                        .recursive(true)
                        .mode(0o700)
                        .create(directory),
                );
            }
            drop(self.lines.append_history(file));
        }
    }
}

fn unusable(error: &ReadlineError) -> Failure {
    Failure::Refused(format!(
        "cannot read from this terminal: {error}; pipe messages in, or use `remuda run`"
    ))
}

/// When a message is complete, and how commands are completed.
struct Rules;

impl Helper for Rules {}

impl Highlighter for Rules {}

impl Hinter for Rules {
    type Hint = String;
}

impl Validator for Rules {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_open(context.input()) {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Completer for Rules {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let begun = line.get(..position).unwrap_or_default();
        let matching = COMMANDS
            .iter()
            .filter(|command| begun.starts_with('/') && command.starts_with(begun))
            .map(|command| (*command).to_owned());
        Ok((0, matching.collect()))
    }
}
