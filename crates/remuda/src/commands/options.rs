//! Flags about how a model answers, shared by `run` and `chat`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::failure::Failure;
use crate::client::ChatCall;

/// How the model answers.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ModelOptions {
    /// Instructions that stand before the conversation.
    #[arg(long, value_name = "TEXT", help_heading = "Model options")]
    pub(super) system: Option<String>,
    /// How freely words are chosen: 0 always takes the likeliest.
    #[arg(long, value_name = "NUMBER", help_heading = "Model options")]
    temperature: Option<f64>,
    /// Makes equal questions get equal answers.
    #[arg(long, value_name = "NUMBER", help_heading = "Model options")]
    seed: Option<i64>,
    /// The most tokens of an answer.
    #[arg(long, value_name = "TOKENS", help_heading = "Model options")]
    max_tokens: Option<i64>,
    /// The context length to ask for.
    #[arg(long, value_name = "TOKENS", help_heading = "Model options")]
    num_ctx: Option<u64>,
    /// Any other option in Ollama's names, as in `-o top_k=40`. Repeatable.
    #[arg(
        short = 'o',
        long = "option",
        value_name = "NAME=VALUE",
        help_heading = "Model options"
    )]
    other: Vec<String>,
    /// Let a thinking model think: true, false, low, medium or high.
    #[arg(
        long,
        value_name = "HOW",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        help_heading = "Model options"
    )]
    think: Option<String>,
    /// `json`, or a JSON schema that the answer must follow.
    #[arg(long, value_name = "FORMAT", help_heading = "Model options")]
    format: Option<String>,
}

impl ModelOptions {
    /// Starts a call to `model` with these options and no messages but the system's.
    pub(super) fn call(&self, model: &str) -> Result<ChatCall, Failure> {
        let mut options = Map::new();
        for (name, value) in [
            ("temperature", self.temperature.map(|v| json!(v))),
            ("seed", self.seed.map(|v| json!(v))),
            ("num_predict", self.max_tokens.map(|v| json!(v))),
            ("num_ctx", self.num_ctx.map(|v| json!(v))),
        ] {
            if let Some(value) = value {
                options.insert(name.to_owned(), value);
            }
        }
        for pair in &self.other {
            let (name, text) = pair.split_once('=').ok_or_else(|| {
                Failure::Usage(format!("{pair:?} is not an option: write NAME=VALUE"))
            })?;
            let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
            options.insert(name.to_owned(), value);
        }
        Ok(ChatCall {
            model: model.to_owned(),
            turns: Vec::new(),
            options,
            format: self.format.as_deref().map(read_format).transpose()?,
            think: self.think.as_deref().map(read_think),
        })
    }
}

fn read_think(text: &str) -> Value {
    match text {
        "true" | "yes" | "on" => Value::Bool(true),
        "false" | "no" | "off" => Value::Bool(false),
        level => json!(level),
    }
}

fn read_format(text: &str) -> Result<Value, Failure> {
    if text == "json" {
        return Ok(json!("json"));
    }
    serde_json::from_str(text)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| Failure::Usage("--format takes `json` or a JSON schema object".to_owned()))
}
