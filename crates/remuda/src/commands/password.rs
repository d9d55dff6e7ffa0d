//! Asking for a password: without echo on a terminal, or from standard input for scripts.

use std::io::{self, Read as _};

use primitives::Secret;

use super::failure::Failure;

/// The longest password that is read from standard input, in bytes.
const LONGEST: u64 = 1024;

/// Where a password comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasswordSource {
    /// The person types it.
    Terminal,
    /// The first line of standard input.
    StandardInput,
}

impl PasswordSource {
    /// Chooses by the `--password-stdin` flag.
    pub(super) fn from_flag(from_stdin: bool) -> Self {
        if from_stdin {
            Self::StandardInput
        } else {
            Self::Terminal
        }
    }

    /// Reads a password that exists already.
    pub(super) fn ask(self) -> Result<Secret<String>, Failure> {
        match self {
            Self::Terminal => prompt("Password: "),
            Self::StandardInput => read_line(),
        }
    }

    /// Reads a new password; on a terminal it is asked for twice.
    pub(super) fn ask_new(self) -> Result<Secret<String>, Failure> {
        let password = self.ask()?;
        if self == Self::Terminal && prompt("The same again: ")? != password {
            return Err(Failure::Usage(
                "the two passwords differ: try again".to_owned(),
            ));
        }
        Ok(password)
    }
}

/// Asks for the set-up token on the terminal.
pub(super) fn ask_token() -> Result<Secret<String>, Failure> {
    prompt_or(
        "Set-up token (`remuda up` printed it): ",
        "there is no terminal to ask for the set-up token on: give it with --token",
    )
}

fn prompt(text: &str) -> Result<Secret<String>, Failure> {
    prompt_or(
        text,
        "there is no terminal to ask for the password on: give it with --password-stdin",
    )
}

/// Asks on the terminal without echo.
pub(super) fn prompt_or(text: &str, no_terminal: &str) -> Result<Secret<String>, Failure> {
    rpassword::prompt_password(text)
        .map(Secret::new)
        .map_err(|_| Failure::Usage(no_terminal.to_owned()))
}

fn read_line() -> Result<Secret<String>, Failure> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(LONGEST)
        .read_to_string(&mut text)
        .map_err(|error| Failure::Usage(format!("cannot read the password: {error}")))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line.to_owned())),
        _ => Err(Failure::Usage(
            "standard input holds no password".to_owned(),
        )),
    }
}
