//! A model's answer on the terminal: piece by piece as it comes, or whole for a program.

use serde_json::Value;

use super::context::Context;
use super::failure::Failure;
use crate::client::{AnswerStream, Api, ChatCall, Piece};
use crate::output::{Tone, millis_from_micros, patiently, remark, rounded};

/// Asks a model and shows its answer as it comes.
pub(super) async fn show_answer(
    context: &Context,
    api: &Api,
    call: &ChatCall,
    shown: &mut Shown,
) -> Result<(), Failure> {
    let opening = async {
        let mut answer = AnswerStream::open(api, call).await?;
        let first = answer.next().await?;
        Ok::<_, Failure>((answer, first))
    };
    let meanwhile = format!("waiting for {} (it may have to be loaded)", call.model);
    let (mut answer, mut next) = patiently(context.out, &meanwhile, Box::pin(opening)).await?;
    while let Some(piece) = next {
        shown.piece(context, piece)?;
        next = answer.next().await?;
    }
    Ok(())
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
        "read {read} tokens ({}), wrote {written} tokens ({}), {} in all, ended by {}",
        speed(read, number("prompt_eval_duration")),
        speed(written, number("eval_duration")),
        millis_from_micros((number("total_duration") / 1e3) as i64),
        end.get("done_reason")
            .and_then(Value::as_str)
            .unwrap_or("stop"),
    )
}
