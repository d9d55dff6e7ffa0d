//! Bodies of `/v1/embeddings`.

use bytes::Bytes;
use serde::Serialize;

use crate::canonical::{EmbedInput, EmbedRequest};
use crate::error::ApiError;
use crate::hints::drop_extensions;
use crate::target::{ServerKind, Target};
use crate::wire::ObjectWriter;

/// Writes a body of `/v1/embeddings`. Nodes are asked for numbers: not all of them can do base64.
pub(crate) fn write_embed(target: Target, request: &EmbedRequest) -> Result<Bytes, ApiError> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Input<'a> {
        Text(&'a str),
        Tokens(&'a [u32]),
    }
    let inputs: Vec<Input<'_>> = request
        .inputs
        .iter()
        .map(|input| match input {
            EmbedInput::Text(text) => Ok(Input::Text(text)),
            EmbedInput::Tokens(_) if target.server == ServerKind::Ollama => Err(
                ApiError::unsupported("input", "Ollama embeds texts, not tokens"),
            ),
            EmbedInput::Tokens(tokens) => Ok(Input::Tokens(tokens)),
        })
        .collect::<Result<_, _>>()?;
    let mut body = ObjectWriter::with_capacity(256);
    body.put("model", &request.model);
    body.put("input", &inputs);
    body.put("encoding_format", "float");
    if request.dimensions.is_some() && target.server.ignores_dimensions() {
        return Err(ApiError::unsupported(
            "dimensions",
            "the node returns vectors in full length",
        ));
    }
    body.put_some("dimensions", request.dimensions);
    if request.truncate == Some(true) && target.server == ServerKind::Vllm {
        body.put("truncate_prompt_tokens", &-1);
    }
    if request.source == target.operation {
        body.put_all(&request.extensions);
    } else {
        drop_extensions(request.source, &request.extensions)?;
    }
    Ok(body.finish())
}
