//! The byte-level BPE tokenizer: training, and encoding conversations with their loss mask.

use anyhow::{Context, Result, anyhow};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    SplitDelimiterBehavior, TokenizerBuilder, TokenizerImpl,
};

use crate::corpus::Turn;

/// Written to the file as `tokenizer.ggml.pre`; names the splitting rule below.
pub(crate) const PRE_TOKENIZER: &str = "qwen2";
const SPLIT_RULE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Special tokens, appended after the learned vocabulary in this order.
pub(crate) const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

type Bpe = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

pub(crate) struct Tokenizer {
    inner: Bpe,
    /// Token texts by id, in GPT-2's printable spelling of bytes, with the special tokens at the end.
    pub(crate) tokens: Vec<String>,
    /// Merges as `left right`, most frequent first.
    pub(crate) merges: Vec<String>,
}

/// Token ids of a conversation and, for each, whether the model must learn to produce it.
pub(crate) struct Encoded {
    pub(crate) ids: Vec<u32>,
    pub(crate) learned: Vec<bool>,
}

impl Tokenizer {
    pub(crate) fn train(texts: &[String], vocabulary: usize) -> Result<Self> {
        let split = Split::new(
            SplitPattern::Regex(SPLIT_RULE.to_owned()),
            SplitDelimiterBehavior::Isolated,
            false,
        )
        .map_err(|error| anyhow!(error))?;
        let mut inner: Bpe = TokenizerBuilder::new()
            .with_model(BPE::default())
            .with_normalizer(None)
            .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
                PreTokenizerWrapper::Split(split),
                PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)),
            ]))))
            .with_post_processor(None)
            .with_decoder(None)
            .build()
            .map_err(|error| anyhow!(error))?;
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(vocabulary - SPECIALS.len())
            .min_frequency(2)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        inner
            .train(&mut trainer, texts.iter())
            .map_err(|error| anyhow!(error))?;

        let model = serde_json::to_value(inner.get_model())?;
        let vocabulary = model["vocab"].as_object().context("no vocabulary")?;
        let mut tokens = vec![String::new(); vocabulary.len()];
        for (token, id) in vocabulary {
            tokens[id.as_u64().context("no id")? as usize].clone_from(token);
        }
        let merges = model["merges"]
            .as_array()
            .context("no merges")?
            .iter()
            .map(|pair| {
                Some(format!(
                    "{} {}",
                    pair.get(0)?.as_str()?,
                    pair.get(1)?.as_str()?
                ))
            })
            .collect::<Option<Vec<_>>>()
            .context("merges are not pairs")?;
        tokens.extend(SPECIALS.map(str::to_owned));
        Ok(Self {
            inner,
            tokens,
            merges,
        })
    }

    pub(crate) fn special(&self, text: &str) -> u32 {
        let place = SPECIALS
            .iter()
            .position(|special| *special == text)
            .unwrap_or_default();
        (self.tokens.len() - SPECIALS.len() + place) as u32
    }

    /// Encodes a conversation as the chat template renders it.
    pub(crate) fn conversation(&self, system: Option<&str>, turns: &[Turn]) -> Result<Encoded> {
        let mut out = Encoded {
            ids: Vec::new(),
            learned: Vec::new(),
        };
        if let Some(system) = system {
            self.turn(&mut out, "system", system, false)?;
        }
        for turn in turns {
            self.turn(&mut out, "user", &turn.question, false)?;
            self.turn(&mut out, "assistant", &turn.answer, true)?;
        }
        Ok(out)
    }

    fn turn(&self, out: &mut Encoded, role: &str, text: &str, learned: bool) -> Result<()> {
        out.push(self.special("<|im_start|>"), false);
        // Role, line break and text are one piece of text to the template, so they are split together.
        let header = self.encode(&format!("{role}\n"))?;
        let whole = self.encode(&format!("{role}\n{text}"))?;
        for (place, id) in whole.into_iter().enumerate() {
            out.push(id, learned && place >= header.len());
        }
        out.push(self.special("<|im_end|>"), learned);
        for id in self.encode("\n")? {
            out.push(id, false);
        }
        Ok(())
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self
            .inner
            .encode(text, false)
            .map_err(|error| anyhow!(error))?
            .get_ids()
            .to_vec())
    }
}

impl Encoded {
    fn push(&mut self, id: u32, learned: bool) {
        self.ids.push(id);
        self.learned.push(learned);
    }
}
