//! `WordPiece` vocabularies of BERT-family models.

use std::path::Path;

use tokenizers::models::wordpiece::WordPiece as Model;
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer};

use crate::error::EngineError;
use crate::file::{Metadata, Refusal};

/// A `WordPiece` splitter that puts the marks of begin and end around every text.
pub(crate) struct WordPiece {
    inner: Tokenizer,
}

impl WordPiece {
    /// Builds the splitter from a GGUF vocabulary, in which a word's first piece begins with `▁` and others with nothing.
    pub(crate) fn from_metadata(metadata: &Metadata, tokens: &[&str]) -> Result<Self, Refusal> {
        let original = |token: &str| match token.strip_prefix('▁') {
            Some(first) => first.to_owned(),
            None if token.starts_with('[') && token.ends_with(']') => token.to_owned(),
            None => format!("##{token}"),
        };
        // A file that kept the original spelling has pieces that begin with `##`.
        let kept = tokens
            .iter()
            .any(|token| token.len() > 2 && token.starts_with("##"));
        let texts: Vec<String> = tokens
            .iter()
            .map(|token| {
                if kept {
                    (*token).to_owned()
                } else {
                    original(token)
                }
            })
            .collect();
        let mark = |key: &str, usual: &str| -> Result<(String, u32), Refusal> {
            let id = metadata
                .find_number(&format!("tokenizer.ggml.{key}"))
                .and_then(|id| u32::try_from(id).ok())
                .or_else(|| {
                    texts
                        .iter()
                        .position(|text| text == usual)
                        .map(|id| id as u32)
                });
            id.and_then(|id| Some((texts.get(id as usize)?.clone(), id)))
                .ok_or_else(|| Refusal(format!("the vocabulary has no token {usual}")))
        };
        // GGUF writes the key with this spelling.
        let separator = mark("seperator_token_id", "[SEP]")?;
        let class = mark("cls_token_id", "[CLS]")?;
        let unknown = mark("unknown_token_id", "[UNK]")?;
        let lower_case = metadata
            .find_flag("tokenizer.ggml.lowercase")
            .unwrap_or(true);
        let mut vocabulary = std::collections::HashMap::with_capacity(texts.len());
        for (id, text) in (0u32..).zip(texts) {
            vocabulary.entry(text).or_insert(id);
        }
        let model = Model::builder()
            .vocab(
                vocabulary
                    .into_iter()
                    .collect::<tokenizers::models::bpe::Vocab>(),
            )
            .unk_token(unknown.0)
            .build()
            .map_err(|error| Refusal(format!("the vocabulary is not usable: {error}")))?;
        let mut inner = Tokenizer::new(model);
        let normalizer = BertNormalizer::new(true, true, None, lower_case);
        inner
            .with_normalizer(Some(NormalizerWrapper::BertNormalizer(normalizer)))
            .map_err(|error| Refusal(error.to_string()))?
            .with_pre_tokenizer(Some(PreTokenizerWrapper::BertPreTokenizer(
                BertPreTokenizer,
            )))
            .with_post_processor(Some(PostProcessorWrapper::Bert(BertProcessing::new(
                separator, class,
            ))));
        Ok(Self { inner })
    }

    /// Reads `tokenizer.json`.
    pub(crate) fn from_directory(directory: &Path) -> Result<Self, Refusal> {
        let mut inner = Tokenizer::from_file(directory.join("tokenizer.json"))
            .map_err(|error| Refusal(format!("cannot read tokenizer.json: {error}")))?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Refusal(error.to_string()))?;
        Ok(Self { inner })
    }

    pub(crate) fn split(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), EngineError> {
        let encoding = self
            .inner
            .encode_fast(text, true)
            .map_err(|error| EngineError::Failed(error.to_string()))?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }
}
