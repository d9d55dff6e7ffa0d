//! Vectors, as numbers or as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde::Serialize;

use crate::answer::Answer;
use crate::canonical::Encoding;
use crate::encoder::ResponseMeta;
use crate::error::ApiError;
use crate::vector::Vector;
use crate::wire;

#[derive(Serialize)]
struct EmbeddingsBody<'a> {
    object: &'static str,
    data: Vec<EmbeddingItem<'a>>,
    model: &'a str,
    usage: EmbeddingUsage,
}

#[derive(Serialize)]
struct EmbeddingItem<'a> {
    object: &'static str,
    embedding: Written<'a>,
    index: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Written<'a> {
    Numbers(&'a Vector),
    Base64(String),
}

#[derive(Serialize)]
struct EmbeddingUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Writes the body of `/v1/embeddings`.
///
/// # Errors
/// `Upstream` when the client wants base64 and a node's vector is not made of numbers.
pub(crate) fn write_embeddings(
    meta: &ResponseMeta,
    answer: &Answer,
    out: &mut BytesMut,
) -> Result<(), ApiError> {
    let data = answer.embeddings.iter().enumerate().map(|(index, vector)| {
        let embedding = match meta.encoding {
            Encoding::Float => Written::Numbers(vector),
            Encoding::Base64 => {
                let numbers = vector.numbers()?;
                let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
                Written::Base64(STANDARD.encode(bytes))
            }
        };
        Ok(EmbeddingItem {
            object: "embedding",
            embedding,
            index,
        })
    });
    let body = EmbeddingsBody {
        object: "list",
        data: data.collect::<Result<_, ApiError>>()?,
        model: &meta.model,
        usage: EmbeddingUsage {
            prompt_tokens: answer.usage.prompt_tokens,
            total_tokens: answer.usage.prompt_tokens,
        },
    };
    wire::json(out, &body);
    Ok(())
}
