//! Bodies of `/v1/embeddings`.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::{EmbedInput, EmbedRequest, Encoding, Request};
use crate::error::ApiError;
use crate::json::{Fields, Object, body_object, field};
use crate::operation::Operation;

/// Reads a body of `/v1/embeddings`.
pub(crate) fn read_embed(body: &[u8]) -> Result<Request, ApiError> {
    const OPERATION: Operation = Operation::OpenAiEmbeddings;
    let mut request = EmbedRequest {
        source: OPERATION,
        model: String::new(),
        inputs: Vec::new(),
        dimensions: None,
        truncate: None,
        encoding: Encoding::Float,
        keep_alive: None,
        node_options: Fields::default(),
        extensions: Fields::default(),
    };
    for (name, raw) in body_object(body)?.0 {
        match &*name {
            "model" => request.model = field("model", raw)?,
            "input" => request.inputs = embed_inputs(raw)?,
            "dimensions" => request.dimensions = Some(field("dimensions", raw)?),
            "encoding_format" => {
                request.encoding = match field::<String>("encoding_format", raw)?.as_str() {
                    "float" => Encoding::Float,
                    "base64" => Encoding::Base64,
                    other => {
                        let text = format!(
                            "invalid value '{other}' for 'encoding_format': use 'float' or 'base64'"
                        );
                        return Err(ApiError::invalid_field("encoding_format", text));
                    }
                }
            }
            "keep_alive" => request.keep_alive = Some(raw.into()),
            "num_ctx" => request.node_options.push(name, raw.into()),
            "options" => {
                for (name, raw) in field::<Object<'_>>("options", raw)?.0 {
                    request.node_options.push(name, raw.into());
                }
            }
            name => request.extensions.push(name, raw.into()),
        }
    }
    if request.model.is_empty() {
        return Err(ApiError::model_missing(OPERATION));
    }
    if request.inputs.is_empty() {
        return Err(ApiError::invalid_field(
            "input",
            "[] is too short - 'input'",
        ));
    }
    Ok(Request::Embed(Box::new(request)))
}

fn embed_inputs(raw: &RawValue) -> Result<Vec<EmbedInput>, ApiError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Inputs {
        Text(String),
        Texts(Vec<String>),
        Tokens(Vec<u32>),
        ManyTokens(Vec<Vec<u32>>),
    }
    let inputs: Inputs = serde_json::from_str(raw.get()).map_err(|_| {
        ApiError::invalid_field(
            "input",
            "invalid input type: expected text, tokens, or an array of either",
        )
    })?;
    Ok(match inputs {
        Inputs::Text(text) => vec![EmbedInput::Text(text)],
        Inputs::Texts(texts) => texts.into_iter().map(EmbedInput::Text).collect(),
        Inputs::Tokens(tokens) => vec![EmbedInput::Tokens(tokens)],
        Inputs::ManyTokens(many) => many.into_iter().map(EmbedInput::Tokens).collect(),
    })
}
