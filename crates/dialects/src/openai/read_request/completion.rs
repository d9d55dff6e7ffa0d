//! Bodies of `/v1/completions`.

use serde_json::value::RawValue;

use super::format::response_format;
use super::generation::read_shared;
use crate::canonical::{CompletionRequest, Generation, Request};
use crate::error::ApiError;
use crate::json::{Json, body_object, field};
use crate::operation::Operation;

/// Reads a body of `/v1/completions`.
pub(crate) fn read_completion(body: &[u8]) -> Result<Request, ApiError> {
    const OPERATION: Operation = Operation::OpenAiCompletions;
    let mut prompt = None;
    let mut request = CompletionRequest {
        source: OPERATION,
        model: String::new(),
        prompt: String::new(),
        continued: None,
        suffix: None,
        system: None,
        template: None,
        raw: false,
        images: Vec::new(),
        context: None,
        echo: false,
        best_of: None,
        generation: Generation::default(),
    };
    for (name, raw) in body_object(body)?.0 {
        match &*name {
            "model" => request.model = field("model", raw)?,
            "prompt" => prompt = Some(one_prompt(raw)?),
            "suffix" => {
                request.suffix =
                    Some(field::<String>("suffix", raw)?).filter(|text| !text.is_empty());
            }
            "echo" => request.echo = field("echo", raw)?,
            "best_of" => request.best_of = Some(field("best_of", raw)?),
            "response_format" => request.generation.format = response_format(raw)?,
            "logprobs" => {
                let top: u8 = field("logprobs", raw)?;
                request.generation.logprobs = Some(top);
            }
            name => read_shared(name, raw, &mut request.generation)?,
        }
    }
    if request.model.is_empty() {
        return Err(ApiError::model_missing(OPERATION));
    }
    request.prompt =
        prompt.ok_or_else(|| ApiError::invalid_field("prompt", "you must provide a prompt"))?;
    Ok(Request::Completion(Box::new(request)))
}

fn one_prompt(raw: &RawValue) -> Result<String, ApiError> {
    if raw.get().starts_with('"') {
        return field("prompt", raw);
    }
    match serde_json::from_str::<Vec<Json>>(raw.get()) {
        Ok(several) => match several.as_slice() {
            [one] if one.text().starts_with('"') => one
                .read()
                .ok_or_else(|| ApiError::invalid_field("prompt", "'prompt' is not valid text")),
            _ => Err(ApiError::unsupported(
                "prompt",
                "the node that has this model takes one text, neither several prompts nor tokens",
            )),
        },
        Err(_) => field("prompt", raw),
    }
}
