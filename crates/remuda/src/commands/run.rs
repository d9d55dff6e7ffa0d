//! `remuda run`: one question, one answer.

use std::io::{self, IsTerminal as _, Read as _};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::context::Context;
use super::failure::Failure;
use super::options::ModelOptions;
use crate::client::{AnswerStream, Piece, Turn};
use crate::output::{Tone, remark, rounded};

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
  remuda run llama3.2 --format json --json \"List two colours as JSON\""
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
        let answer = async {
            let mut answer = AnswerStream::open(&api, &call).await?;
            let mut shown = Shown::default();
            while let Some(piece) = answer.next().await? {
                shown.piece(context, piece)?;
            }
            shown.finish(context, self.stats)
        };
        tokio::select! {
            result = Box::pin(answer) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
        }
    }
}

/// What has been shown of an answer.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) text: String,
    is_thinking: bool,
    end: Option<Value>,
}

impl Shown {
    /// Shows a piece at once; for a program the pieces are only gathered.
    pub(super) fn piece(&mut self, context: &Context, piece: Piece) -> Result<(), Failure> {
        let out = context.out;
        match piece {
            Piece::Text(text) => {
                if self.is_thinking && !out.is_json() {
                    out.text("\n\n")?;
                }
                self.is_thinking = false;
                if !out.is_json() {
                    out.text(&text)?;
                }
                self.text.push_str(&text);
            }
            Piece::Thinking(text) => {
                self.is_thinking = true;
                if !out.is_json() {
                    out.text(&out.paint(Tone::Faint, &text))?;
                }
            }
            Piece::Done(end) => self.end = Some(end),
        }
        Ok(())
    }

    /// Ends the line, and shows the numbers when they are wanted.
    pub(super) fn finish(&self, context: &Context, with_stats: bool) -> Result<(), Failure> {
        let out = context.out;
        let mut end = self.end.clone().unwrap_or_default();
        if out.is_json() {
            if let Some(message) = end.get_mut("message") {
                message["content"] = Value::String(self.text.clone());
            }
            return Ok(out.json(&end)?);
        }
        if !self.text.ends_with('\n') {
            out.text("\n")?;
        }
        if with_stats {
            remark(&stats(&end));
        }
        Ok(())
    }
}

fn stats(end: &Value) -> String {
    let number = |name: &str| end.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let speed = |count: f64, nanos: f64| {
        if nanos > 0.0 {
            format!("{} tokens/s", rounded(count / nanos * 1e9))
        } else {
            "not measured".to_owned()
        }
    };
    let (read, written) = (number("prompt_eval_count"), number("eval_count"));
    format!(
        "read {read} tokens ({}), wrote {written} tokens ({}), {} s in all, ended by {}",
        speed(read, number("prompt_eval_duration")),
        speed(written, number("eval_duration")),
        rounded(number("total_duration") / 1e9),
        end.get("done_reason")
            .and_then(Value::as_str)
            .unwrap_or("stop"),
    )
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
