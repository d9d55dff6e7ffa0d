//! `remuda run`: one question, one answer.

use std::io::{self, IsTerminal as _, Read as _};
use std::time::Duration;

use clap::Args;

use super::answer::{Shown, show_answer};
use super::context::Context;
use super::failure::Failure;
use super::options::ModelOptions;
use crate::client::Turn;
use crate::output::remark;

/// The largest prompt that is read from standard input, in bytes.
const LARGEST_PROMPT: u64 = 32 * 1024 * 1024;

/// How long a silent pipe is waited for before the person is told.
const PIPE_PATIENCE: Duration = Duration::from_secs(2);

/// Asks a model one question and streams the answer.
#[derive(Debug, Args)]
#[command(
    after_long_help = "What is piped in is the question, or stands below the one on the command line.

Examples:
  remuda run remuda-demo \"What is Remuda?\"
  remuda run llama3.2 --temperature 0 \"Name three horses\"
  git diff | remuda run qwen3 \"Write a commit message for this change\"
  remuda run llama3.2 --format json --json \"List two colours as JSON\"
  remuda run llama3.2 --background \"Write a long story\"     prints an id for `remuda jobs follow`"
)]
pub(super) struct Run {
    /// The model.
    model: String,
    /// The question. Without it, standard input is read.
    prompt: Vec<String>,
    #[command(flatten)]
    options: ModelOptions,
    /// Show token counts and speeds afterwards.
    #[arg(long)]
    stats: bool,
    /// Have the answer made in the background and print its id: it is made even if this machine or the server goes down meanwhile.
    #[arg(long, conflicts_with = "stats")]
    background: bool,
}

impl Run {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let prompt = prompt(&self.prompt).await?;
        let mut call = self.options.call(&self.model)?;
        if let Some(system) = &self.options.system {
            call.turns.push(Turn::new("system", system));
        }
        call.turns.push(Turn::new("user", prompt));
        let api = context.api()?;
        if self.background {
            return super::jobs::submit(context, &api, &call).await;
        }
        let mut shown = Shown::default();
        tokio::select! {
            result = Box::pin(show_answer(context, &api, &call, &mut shown)) => result?,
            _ = tokio::signal::ctrl_c() => return Err(Failure::Interrupted),
        }
        shown.finish(context, self.stats)
    }
}

async fn prompt(words: &[String]) -> Result<String, Failure> {
    let asked = words.join(" ");
    let piped = if io::stdin().is_terminal() {
        String::new()
    } else {
        read_piped(!asked.is_empty()).await?
    };
    match (asked.is_empty(), piped.trim().is_empty()) {
        (true, true) => Err(Failure::Usage(
            "no question: write it after the model's name or pipe it in (`remuda chat` talks)"
                .to_owned(),
        )),
        (true, false) => Ok(piped),
        (false, true) => Ok(asked),
        (false, false) => Ok(format!("{asked}\n\n{piped}")),
    }
}

async fn read_piped(is_question_complete: bool) -> Result<String, Failure> {
    let mut reading = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        io::stdin()
            .lock()
            .take(LARGEST_PROMPT)
            .read_to_string(&mut text)
            .map(|_| text)
    });
    let result = if let Ok(result) = tokio::time::timeout(PIPE_PATIENCE, &mut reading).await {
        result
    } else {
        if is_question_complete {
            remark(
                "waiting for the end of standard input, which belongs to the question too (`< /dev/null` gives none)",
            );
        }
        reading.await
    };
    match result {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(Failure::Usage(format!(
            "cannot read standard input: {error}"
        ))),
        Err(_) => Err(Failure::Interrupted),
    }
}
