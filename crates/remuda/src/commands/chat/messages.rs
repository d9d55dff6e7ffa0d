//! Where the messages of a conversation come from: a person who types, or a pipe.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::mpsc;

use super::super::failure::Failure;
use super::editor::{Editor, History};

/// The fence around a message of several lines.
pub(super) const FENCE: &str = "\"\"\"";

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A message.
    Message(Message),
    /// Ctrl-C in place of a message.
    Interrupt,
    /// The next message cannot be read, for this reason.
    Unreadable(String),
    /// Nothing more will come.
    End,
}

/// What somebody wrote, without its fence and the space around it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) text: String,
    /// Whether it had a fence: then it is for the model, whatever it begins with.
    pub(super) is_fenced: bool,
}

/// A source of messages. It reads on a thread of its own, because a blocking read cannot be cancelled.
pub(super) struct Messages {
    /// Asks the editor for the next message: while an answer is shown the terminal is not the editor's.
    turns: Option<SyncSender<()>>,
    heard: mpsc::Receiver<Heard>,
}

/// Returns true when a person sits at both ends.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Messages {
    /// Lets a person type.
    pub(super) fn typed(history: History) -> Result<Self, Failure> {
        let mut editor = Editor::new(history)?;
        let (turns, asked) = sync_channel(1);
        let (sender, heard) = mpsc::channel(1);
        std::thread::spawn(move || {
            while asked.recv().is_ok() && sender.blocking_send(editor.read()).is_ok() {}
        });
        Ok(Self {
            turns: Some(turns),
            heard,
        })
    }

    /// Reads standard input as it comes.
    pub(super) fn piped() -> Self {
        let (sender, heard) = mpsc::channel(1);
        std::thread::spawn(move || {
            let mut lines = io::stdin().lock().lines();
            loop {
                let heard = match next_message(&mut lines) {
                    Ok(Some(message)) => Heard::Message(message),
                    Ok(None) => break,
                    Err(error) => Heard::Unreadable(error.to_string()),
                };
                let is_last = matches!(heard, Heard::Unreadable(_));
                if sender.blocking_send(heard).is_err() || is_last {
                    break;
                }
            }
        });
        Self { turns: None, heard }
    }

    /// Returns what comes next.
    pub(super) async fn next(&mut self) -> Heard {
        if let Some(turns) = &self.turns
            && turns.send(()).is_err()
        {
            return Heard::End;
        }
        self.heard.recv().await.unwrap_or(Heard::End)
    }
}

/// Returns true when a message has begun with a fence and not ended with one.
pub(super) fn is_open(text: &str) -> bool {
    text.trim_start()
        .strip_prefix(FENCE)
        .is_some_and(|rest| !rest.trim_end().ends_with(FENCE))
}

impl Message {
    /// Takes the message out of what was written.
    pub(super) fn of(written: &str) -> Self {
        let text = written.trim();
        match text.strip_prefix(FENCE) {
            None => Self {
                text: text.to_owned(),
                is_fenced: false,
            },
            Some(inner) => Self {
                text: inner.strip_suffix(FENCE).unwrap_or(inner).trim().to_owned(),
                is_fenced: true,
            },
        }
    }
}

/// Takes the lines of one message; an open fence ends with the lines.
fn next_message(
    lines: &mut impl Iterator<Item = io::Result<String>>,
) -> io::Result<Option<Message>> {
    let Some(mut text) = lines.next().transpose()? else {
        return Ok(None);
    };
    while is_open(&text) {
        let Some(line) = lines.next().transpose()? else {
            break;
        };
        text.push('\n');
        text.push_str(&line);
    }
    Ok(Some(Message::of(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_hold_lines_together() {
        let text = "one\n\"\"\"two\nthree\"\"\"\n\"\"\" four \"\"\"\n\"\"\"\nfive\n";
        let mut lines = text.as_bytes().lines();
        let messages: Vec<_> = std::iter::from_fn(|| next_message(&mut lines).unwrap())
            .map(|message| (message.text, message.is_fenced))
            .collect();
        let expected = [
            ("one", false),
            ("two\nthree", true),
            ("four", true),
            ("five", true),
        ];
        assert_eq!(
            messages,
            expected.map(|(text, fenced)| (text.to_owned(), fenced))
        );
    }
}
