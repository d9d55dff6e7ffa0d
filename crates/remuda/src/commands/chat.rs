//! `remuda chat`: a conversation on the terminal.

use std::io::{self, BufRead as _, IsTerminal as _};

use clap::Args;
use tokio::sync::mpsc;

use super::context::Context;
use super::failure::Failure;
use super::model_choice::{choose_model, ensure_known};
use super::options::ModelOptions;
use super::run::Shown;
use crate::client::{AnswerStream, Api, ChatCall, Turn};
use crate::output::{Tone, remark};

const HELP: &str = "  /model [NAME]   show or change the model
  /clear          forget the conversation
  /stats          show token counts and speeds after each answer, or stop showing them
  /help           show this
  /bye            leave (as Ctrl-D)
  Ctrl-C          stop an answer
  \"\"\"             begin and end a message of several lines";

/// The fence around a message of several lines.
const FENCE: &str = "\"\"\"";

/// Talks to a model: several turns, streamed.
#[derive(Debug, Args)]
#[command(after_long_help = "Within the conversation:
  /model [NAME]   show or change the model
  /clear          forget the conversation
  /stats          show token counts and speeds after each answer
  /help           list these
  /bye            leave (as Ctrl-D)
  Ctrl-C          stop an answer, not the program

Examples:
  remuda chat
  remuda chat llama3.2 --system \"Answer in one sentence\"")]
pub(super) struct Chat {
    /// The model. Without it, one that is in memory, or else the first of the fleet.
    model: Option<String>,
    #[command(flatten)]
    options: ModelOptions,
}

/// A conversation under way.
struct Conversation<'a> {
    context: &'a Context,
    api: Api,
    options: ModelOptions,
    call: ChatCall,
    shows_stats: bool,
}

/// What happens after a line was handled.
#[derive(PartialEq, Eq)]
enum Next {
    Listen,
    Leave,
}

impl Chat {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        if context.out.is_json() {
            return Err(Failure::Usage(
                "a conversation has no JSON form: use `remuda run --json`, or POST /api/chat"
                    .to_owned(),
            ));
        }
        let api = context.api()?;
        let model = choose_model(&api, self.model.clone()).await?;
        let mut conversation = Conversation {
            context,
            call: ChatCall::default(),
            api,
            options: self.options,
            shows_stats: false,
        };
        conversation.start_over(&model)?;
        let is_terminal = io::stdin().is_terminal();
        if is_terminal {
            remark(&format!(
                "Talking to {model}. /help lists commands, /bye leaves."
            ));
        }
        let mut lines = read_lines();
        loop {
            if is_terminal {
                context.out.text(&context.out.paint(Tone::Strong, "> "))?;
            }
            let line = tokio::select! {
                line = lines.recv() => line,
                _ = tokio::signal::ctrl_c() => {
                    remark("\n(/bye or Ctrl-D leaves)");
                    continue;
                }
            };
            let Some(line) = line else {
                if is_terminal {
                    context.out.text("\n")?;
                }
                return Ok(());
            };
            let message = match line.trim().strip_prefix(FENCE) {
                Some(first) => gather(first, &mut lines).await,
                None => line.trim().to_owned(),
            };
            if !message.is_empty() && conversation.handle(&message).await? == Next::Leave {
                return Ok(());
            }
        }
    }
}

impl Conversation<'_> {
    fn start_over(&mut self, model: &str) -> Result<(), Failure> {
        self.call = self.options.call(model)?;
        if let Some(system) = &self.options.system {
            self.call.turns.push(Turn::new("system", system));
        }
        Ok(())
    }

    async fn handle(&mut self, message: &str) -> Result<Next, Failure> {
        let (word, rest) = message.split_once(' ').unwrap_or((message, ""));
        match word {
            "/bye" | "/exit" | "/quit" => return Ok(Next::Leave),
            "/help" | "/?" => remark(HELP),
            "/clear" => {
                let model = self.call.model.clone();
                self.start_over(&model)?;
                remark("The conversation is forgotten.");
            }
            "/model" if rest.trim().is_empty() => remark(&self.call.model),
            "/model" => self.change_model(rest.trim()).await?,
            "/stats" => {
                self.shows_stats = !self.shows_stats;
                remark(if self.shows_stats {
                    "Token counts and speeds follow each answer."
                } else {
                    "No numbers any more."
                });
            }
            _ if word.starts_with('/') && !word[1..].contains('/') => {
                remark(&format!("There is no command {word}: /help lists them."));
            }
            _ => self.ask(message).await?,
        }
        Ok(Next::Listen)
    }

    /// Goes on with another model, if there is one of that name.
    async fn change_model(&mut self, name: &str) -> Result<(), Failure> {
        match ensure_known(&self.api, name).await {
            Ok(()) => {
                name.clone_into(&mut self.call.model);
                remark(&format!("Talking to {name}."));
                Ok(())
            }
            Err(Failure::Client(error)) => {
                remark(&format!("error: {error}"));
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// Asks and shows the answer. What went wrong is told and the conversation goes on.
    async fn ask(&mut self, message: &str) -> Result<(), Failure> {
        self.call.turns.push(Turn::new("user", message));
        let mut shown = Shown::default();
        let result = tokio::select! {
            result = Box::pin(answer(self.context, &self.api, &self.call, &mut shown)) => Some(result),
            _ = tokio::signal::ctrl_c() => None,
        };
        match result {
            Some(Ok(())) => {}
            None => remark("\n(stopped)"),
            Some(Err(Failure::Client(error))) => {
                if !shown.text.is_empty() {
                    remark("");
                }
                remark(&format!("error: {error}"));
            }
            Some(Err(other)) => return Err(other),
        }
        if shown.text.is_empty() {
            // A question without an answer would confuse the model in the next turn.
            self.call.turns.pop();
        } else {
            shown.finish(self.context, self.shows_stats)?;
            self.call.turns.push(Turn::new("assistant", shown.text));
        }
        Ok(())
    }
}

async fn answer(
    context: &Context,
    api: &Api,
    call: &ChatCall,
    shown: &mut Shown,
) -> Result<(), Failure> {
    let mut answer = AnswerStream::open(api, call).await?;
    while let Some(piece) = answer.next().await? {
        shown.piece(context, piece)?;
    }
    Ok(())
}

/// Reads lines up to the closing fence.
async fn gather(first: &str, lines: &mut mpsc::Receiver<String>) -> String {
    let mut text = String::new();
    let mut line = first.to_owned();
    loop {
        if let Some(last) = line.trim_end().strip_suffix(FENCE) {
            text.push_str(last);
            return text.trim().to_owned();
        }
        text.push_str(&line);
        text.push('\n');
        match lines.recv().await {
            Some(next) => line = next,
            None => return text.trim().to_owned(),
        }
    }
}

/// Reads standard input on a thread of its own: a blocking read cannot be cancelled.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
