//! Vectors, as numbers or as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use serde::Serialize;

use crate::answer::Answer;
use crate::canonical::Encoding;
use crate::encoder::ResponseMeta;
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
    embedding: Vector<'a>,
    index: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    Numbers(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct EmbeddingUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Writes the body of `/v1/embeddings`.
pub(crate) fn write_embeddings(meta: &ResponseMeta, answer: &Answer, out: &mut BytesMut) {
    let data = answer
        .embeddings
        .iter()
        .enumerate()
        .map(|(index, vector)| EmbeddingItem {
            object: "embedding",
            embedding: match meta.encoding {
                Encoding::Float => Vector::Numbers(vector),
                Encoding::Base64 => {
                    let bytes: Vec<u8> = vector
                        .iter()
                        .flat_map(|number| number.to_le_bytes())
                        .collect();
                    Vector::Base64(STANDARD.encode(bytes))
                }
            },
            index,
        });
    let body = EmbeddingsBody {
        object: "list",
        data: data.collect(),
        model: &meta.model,
        usage: EmbeddingUsage {
            prompt_tokens: answer.usage.prompt_tokens,
            total_tokens: answer.usage.prompt_tokens,
        },
    };
    wire::json(out, &body);
}
