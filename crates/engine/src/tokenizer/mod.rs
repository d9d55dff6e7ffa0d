//! Text to tokens and back, from what the model file says about its vocabulary.

mod bpe;
mod bytes;
mod pieces;
mod sentence_piece;
mod specials;
mod text_stream;
mod word_piece;

use std::path::Path;

use crate::error::EngineError;
use crate::file::{GgufFile, Metadata, Refusal};

pub(crate) use pieces::Pieces;
pub(crate) use text_stream::TextStream;

use bpe::Bpe;
use sentence_piece::SentencePiece;
use specials::Specials;
use word_piece::WordPiece;

/// The ways of splitting ordinary text.
enum Splitter {
    Bpe(Box<Bpe>),
    SentencePiece(SentencePiece),
    WordPiece(Box<WordPiece>),
}

/// A model's tokenizer.
pub(crate) struct Tokenizer {
    splitter: Splitter,
    specials: Specials,
    pieces: Pieces,
    begin: Option<u32>,
    add_begin: bool,
    end: Option<u32>,
    ends: Vec<u32>,
}

/// Texts of tokens that end an answer, whatever the file's end token is.
const END_TEXTS: [&str; 8] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
];

impl Tokenizer {
    /// Checks cheaply that [`Tokenizer::from_gguf`] will understand the file.
    pub(crate) fn check(metadata: &Metadata) -> Result<(), Refusal> {
        if metadata
            .find_array("tokenizer.ggml.tokens")
            .is_none_or(<[_]>::is_empty)
        {
            return Err(Refusal::new(
                "the file has no vocabulary (tokenizer.ggml.tokens)",
            ));
        }
        match metadata.text("tokenizer.ggml.model")? {
            "gpt2" => bpe::check(metadata),
            "llama" | "bert" => Ok(()),
            other => Err(Refusal(format!(
                "the tokenizer model '{other}' is not supported"
            ))),
        }
    }

    /// Builds the tokenizer that a GGUF file describes.
    pub(crate) fn from_gguf(file: &GgufFile) -> Result<Self, Refusal> {
        let metadata = &file.metadata;
        let tokens = metadata
            .find_texts("tokenizer.ggml.tokens")
            .filter(|tokens| !tokens.is_empty())
            .ok_or_else(|| Refusal::new("the file has no vocabulary (tokenizer.ggml.tokens)"))?;
        let kinds = token_kinds(metadata, tokens.len())?;
        let model = metadata.text("tokenizer.ggml.model")?;
        let (splitter, pieces, begin_by_default) = match model {
            "gpt2" => {
                let bpe = Bpe::from_metadata(metadata, &tokens)?;
                let begin = bpe.begins_by_default();
                (
                    Splitter::Bpe(Box::new(bpe)),
                    Pieces::byte_level(&tokens, &kinds),
                    begin,
                )
            }
            "llama" => {
                let splitter = SentencePiece::from_metadata(metadata, &tokens)?;
                (
                    Splitter::SentencePiece(splitter),
                    Pieces::sentence_piece(&tokens, &kinds),
                    true,
                )
            }
            "bert" => {
                let splitter = WordPiece::from_metadata(metadata, &tokens)?;
                (
                    Splitter::WordPiece(Box::new(splitter)),
                    Pieces::plain(&tokens),
                    false,
                )
            }
            other => {
                return Err(Refusal(format!(
                    "the tokenizer model '{other}' is not supported"
                )));
            }
        };
        let specials = Specials::new(&tokens, &kinds);
        let id = |key: &str| {
            let id = metadata.find_number(&format!("tokenizer.ggml.{key}"))?;
            u32::try_from(id)
                .ok()
                .filter(|id| (*id as usize) < tokens.len())
        };
        let end = id("eos_token_id");
        let mut ends: Vec<u32> = END_TEXTS
            .iter()
            .filter_map(|text| specials.find(text))
            .collect();
        ends.extend(end);
        ends.extend(
            ["eot_token_id", "eom_token_id"]
                .iter()
                .filter_map(|key| id(key)),
        );
        ends.sort_unstable();
        ends.dedup();
        Ok(Self {
            begin: id("bos_token_id"),
            add_begin: metadata
                .find_flag("tokenizer.ggml.add_bos_token")
                .unwrap_or(begin_by_default),
            splitter,
            specials,
            pieces,
            end,
            ends,
        })
    }

    /// Builds the tokenizer of a safetensors directory from its `tokenizer.json`.
    pub(crate) fn from_directory(directory: &Path) -> Result<Self, Refusal> {
        Ok(Self {
            splitter: Splitter::WordPiece(Box::new(WordPiece::from_directory(directory)?)),
            specials: Specials::default(),
            pieces: Pieces::plain(&[]),
            begin: None,
            add_begin: false,
            end: None,
            ends: Vec::new(),
        })
    }

    /// Splits text that may contain special tokens. The model's begin token is put in front when the model wants one
    /// and the text does not already start with it.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        let mut ids = Vec::new();
        for part in self.specials.split(text) {
            match part {
                specials::Part::Special(id) => ids.push(id),
                specials::Part::Text(text) => self.split(text, &mut ids)?,
            }
        }
        if let (true, Some(begin)) = (self.add_begin, self.begin)
            && ids.first() != Some(&begin)
        {
            ids.insert(0, begin);
        }
        Ok(ids)
    }

    fn split(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), EngineError> {
        match &self.splitter {
            Splitter::Bpe(bpe) => bpe.split(text, ids),
            Splitter::SentencePiece(splitter) => {
                splitter.split(text, ids);
                Ok(())
            }
            Splitter::WordPiece(splitter) => splitter.split(text, ids),
        }
    }

    /// Tells whether a token ends an answer.
    pub(crate) fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Returns the tokens that end an answer, in ascending order.
    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Returns the bytes that tokens stand for.
    pub(crate) fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// Returns the text of the token that begins a prompt, for chat templates.
    pub(crate) fn begin_text(&self) -> &str {
        self.begin.map_or("", |id| self.specials.text(id))
    }

    /// Returns the text of the token that ends a text, for chat templates.
    pub(crate) fn end_text(&self) -> &str {
        self.end.map_or("", |id| self.specials.text(id))
    }

    /// Tells whether the first generated token of an answer carries a space that is not part of it.
    pub(crate) fn leads_with_space(&self) -> bool {
        match &self.splitter {
            Splitter::SentencePiece(splitter) => splitter.adds_space(),
            Splitter::Bpe(_) | Splitter::WordPiece(_) => false,
        }
    }
}

/// What a token is, as GGUF numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Byte,
}

fn token_kinds(metadata: &Metadata, count: usize) -> Result<Vec<TokenKind>, Refusal> {
    use candle_core::quantized::gguf_file::Value;
    let Some(values) = metadata.find_array("tokenizer.ggml.token_type") else {
        return Ok(vec![TokenKind::Normal; count]);
    };
    if values.len() != count {
        return Err(Refusal(format!(
            "the vocabulary has {count} tokens but {} token types",
            values.len()
        )));
    }
    Ok(values
        .iter()
        .map(|value| match value {
            Value::I32(2) | Value::U32(2) => TokenKind::Unknown,
            Value::I32(3) | Value::U32(3) => TokenKind::Control,
            Value::I32(4) | Value::U32(4) => TokenKind::UserDefined,
            Value::I32(6) | Value::U32(6) => TokenKind::Byte,
            _ => TokenKind::Normal,
        })
        .collect())
}
