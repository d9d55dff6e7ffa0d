//! `remuda chat`: a conversation on the terminal.

mod editor;
mod messages;

use clap::Args;

use super::answer::{Shown, show_answer};
use super::context::Context;
use super::failure::Failure;
use super::model_choice::{choose_model, ensure_known};
use super::options::ModelOptions;
use crate::client::{Api, ChatCall, ClientError, Turn};
use crate::output::{remark, wrapped};

use editor::History;
use messages::{Heard, Message, Messages};

/// What can be typed in place of a message.
const COMMANDS: [&str; 5] = ["/bye", "/clear", "/help", "/model", "/stats"];

const HELP: &str = "  /model [NAME]   show or change the model
  /clear          forget the conversation
  /stats          show or hide token counts and speeds after answers
  /help           show this
  /bye            leave (as Ctrl-D)
  Ctrl-C          stop an answer
  \"\"\"             begin and end a message of several lines
  Up, Ctrl-R      earlier messages";

/// Talks to a model: several turns, streamed.
#[derive(Debug, Args)]
#[command(after_long_help = format!("Within the conversation:
{HELP}

Earlier messages are kept in ~/.local/state/remuda/chat_history, readable by you only.

Examples:
  remuda chat
  remuda chat llama3.2 --system \"Answer in one sentence\""))]
pub(super) struct Chat {
    /// The model. Without it, one that is in memory, or else the first of the fleet.
    model: Option<String>,
    /// Neither read nor keep earlier messages.
    #[arg(long)]
    no_history: bool,
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
    /// Whether something was asked for in vain.
    has_failed: bool,
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
            has_failed: false,
        };
        conversation.start_over(&model)?;
        let history = if self.no_history {
            History::Forgotten
        } else {
            History::of_user(&context.environment)
        };
        let is_interactive = messages::is_interactive();
        let mut messages = if is_interactive {
            remark(&format!(
                "Talking to {model}. /help lists commands, /bye leaves."
            ));
            Messages::typed(history)?
        } else {
            Messages::piped()
        };
        loop {
            let heard = tokio::select! {
                heard = messages.next() => heard,
                // While a person types, Ctrl-C is a key: a signal comes from elsewhere.
                _ = tokio::signal::ctrl_c() => return Err(Failure::Interrupted),
            };
            match heard {
                Heard::Message(message) if message.text.is_empty() => {}
                Heard::Message(message) => {
                    if conversation.handle(&message).await? == Next::Leave {
                        break;
                    }
                }
                Heard::Interrupt => remark("(/bye or Ctrl-D leaves)"),
                Heard::Unreadable(reason) => {
                    return Err(Failure::Refused(format!(
                        "cannot read the next message: {reason}; write messages in UTF-8"
                    )));
                }
                Heard::End => break,
            }
        }
        // A person has seen it; a script sees the exit code.
        if conversation.has_failed && !is_interactive {
            return Err(Failure::Told);
        }
        Ok(())
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

    async fn handle(&mut self, message: &Message) -> Result<Next, Failure> {
        if message.is_fenced {
            self.ask(&message.text).await?;
            return Ok(Next::Listen);
        }
        let message = message.text.as_str();
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
                self.tell(&error);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// Tells what went wrong. The conversation goes on.
    fn tell(&mut self, error: &ClientError) {
        self.has_failed = true;
        for line in wrapped(&format!("error: {error}"), 0) {
            remark(&line);
        }
    }

    /// Asks and shows the answer. What went wrong is told and the conversation goes on.
    async fn ask(&mut self, message: &str) -> Result<(), Failure> {
        self.call.turns.push(Turn::new("user", message));
        let mut shown = Shown::default();
        let result = tokio::select! {
            result = Box::pin(show_answer(self.context, &self.api, &self.call, &mut shown)) => Some(result),
            _ = tokio::signal::ctrl_c() => None,
        };
        match result {
            Some(Ok(())) => shown.finish(self.context, self.shows_stats)?,
            None => remark("\n(stopped)"),
            Some(Err(Failure::Client(error))) => {
                if !shown.text.is_empty() {
                    remark("");
                }
                self.tell(&error);
            }
            Some(Err(other)) => return Err(other),
        }
        if shown.text.is_empty() {
            // A question without an answer would confuse the model in the next turn.
            self.call.turns.pop();
        } else {
            self.call.turns.push(Turn::new("assistant", shown.text));
        }
        Ok(())
    }
}
