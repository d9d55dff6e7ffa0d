//! What chat and completions have in common: sampling, streaming, log probabilities, thinking.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::{Generation, Think};
use crate::error::ApiError;
use crate::json::{Object, field};
use crate::ollama::read_option;

#[derive(Default)]
pub(super) struct Logprobs {
    pub(super) wanted: bool,
    pub(super) top: Option<i64>,
}

impl Logprobs {
    pub(super) fn checked(&self) -> Result<Option<u8>, ApiError> {
        let top = u8::try_from(self.top.unwrap_or(0))
            .ok()
            .filter(|top| *top <= 20);
        let top = top.ok_or_else(|| {
            ApiError::invalid_field("top_logprobs", "top_logprobs must be between 0 and 20")
        })?;
        Ok(self.wanted.then_some(top))
    }
}

/// Reads what chat completions and completions share. OpenAI's names come first, those of vLLM, llama.cpp and Ollama after.
pub(crate) fn read_shared(
    name: &str,
    raw: &RawValue,
    generation: &mut Generation,
) -> Result<(), ApiError> {
    let sampling = &mut generation.sampling;
    match name {
        "stream" => generation.stream = field(name, raw)?,
        "stream_options" => {
            #[derive(Deserialize)]
            struct Options {
                include_usage: Option<bool>,
            }
            generation.include_usage = field::<Options>(name, raw)?.include_usage.unwrap_or(false);
        }
        "temperature" => sampling.temperature = Some(field(name, raw)?),
        "top_p" => sampling.top_p = Some(field(name, raw)?),
        "seed" => sampling.seed = Some(field(name, raw)?),
        "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {
            sampling.max_tokens = Some(field(name, raw)?);
        }
        "presence_penalty" => sampling.presence_penalty = Some(field(name, raw)?),
        "frequency_penalty" => sampling.frequency_penalty = Some(field(name, raw)?),
        "n" => sampling.n = Some(field(name, raw)?),
        "logit_bias" => sampling.logit_bias = (raw.get() != "{}").then(|| raw.into()),
        "stop" if raw.get().starts_with('"') => sampling.stop = vec![field(name, raw)?],
        "stop" => sampling.stop = field(name, raw)?,
        "reasoning_effort" => generation.think = Some(effort(&field::<String>(name, raw)?)),
        "reasoning" => {
            #[derive(Deserialize)]
            struct Reasoning {
                effort: Option<String>,
            }
            if let Some(level) = field::<Reasoning>(name, raw)?.effort {
                generation.think = Some(effort(&level));
            }
        }
        "top_k" => sampling.top_k = Some(field(name, raw)?),
        "min_p" => sampling.min_p = Some(field(name, raw)?),
        "typical_p" => sampling.typical_p = Some(field(name, raw)?),
        "repeat_penalty" | "repetition_penalty" => {
            sampling.repeat_penalty = Some(field(name, raw)?);
        }
        "repeat_last_n" => sampling.repeat_last_n = Some(field(name, raw)?),
        "keep_alive" => generation.keep_alive = Some(raw.into()),
        "num_ctx" => generation.node_options.push(name, raw.into()),
        "options" => {
            for (name, raw) in field::<Object<'_>>("options", raw)?.0 {
                read_option(&name, raw, generation)?;
            }
        }
        name => generation.extensions.push(name, raw.into()),
    }
    Ok(())
}

/// Reads a reasoning effort.
pub(crate) fn effort(level: &str) -> Think {
    match level {
        "none" => Think::Off,
        level => Think::Level(level.to_owned()),
    }
}
