//! Bodies of `/v1/completions`.

use bytes::Bytes;

use super::generation::write_generation;
use crate::canonical::{CompletionRequest, Think};
use crate::error::ApiError;
use crate::operation::Dialect;
use crate::target::{ServerKind, Target};
use crate::wire::ObjectWriter;

/// Writes a body of `/v1/completions`.
pub(crate) fn write_completion(
    target: Target,
    request: &CompletionRequest,
) -> Result<Bytes, ApiError> {
    let server = target.server;
    let generation = &request.generation;
    let shape = match request.source.dialect() {
        Dialect::Ollama => "format",
        _ => "response_format",
    };
    let refused = [
        (
            "suffix",
            request.suffix.is_some() && !server.fills_in(),
            "the node does not fill text in",
        ),
        (
            "system",
            request.system.is_some(),
            "this route takes nothing but the prompt",
        ),
        (
            "template",
            request.template.is_some(),
            "only Ollama takes a template with the request",
        ),
        (
            "context",
            request.context.is_some(),
            "only Ollama knows contexts of earlier answers",
        ),
        (
            "images",
            !request.images.is_empty(),
            "this route takes nothing but the prompt",
        ),
        (
            "think",
            !matches!(generation.think, None | Some(Think::Off)),
            "a raw prompt decides itself about thinking",
        ),
        (
            "echo",
            request.echo && server == ServerKind::Ollama,
            "Ollama does not repeat the prompt",
        ),
        // These read `response_format` on their chat routes only.
        (
            shape,
            generation.format.is_some()
                && matches!(server, ServerKind::LlamaServer | ServerKind::LlamaCppPython),
            "the node gives a shape to answers of chats only",
        ),
    ];
    if let Some((name, _, why)) = refused.iter().find(|(_, used, _)| *used) {
        return Err(ApiError::unsupported(*name, why));
    }
    let mut body = ObjectWriter::with_capacity(512 + request.prompt.len());
    body.put("model", &request.model);
    match &request.continued {
        None => body.put("prompt", &request.prompt),
        Some(continued) => body.put("prompt", &format!("{}{continued}", request.prompt)),
    }
    body.put_some("suffix", request.suffix.as_ref());
    if request.echo {
        body.put("echo", &true);
    }
    body.put_some("best_of", request.best_of);
    body.put_some("logprobs", generation.logprobs);
    write_generation(&mut body, request.source, target, generation)?;
    Ok(body.finish())
}
