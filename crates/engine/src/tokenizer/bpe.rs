//! Byte-level BPE vocabularies (`gpt2` in GGUF), with the splitting rules of the model families that use them.

use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    SplitDelimiterBehavior, TokenizerBuilder, TokenizerImpl,
};

use crate::error::EngineError;
use crate::file::{Metadata, Refusal};

/// Words cached by the merger; a bound on memory, not on correctness.
const CACHED_WORDS: usize = 4096;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";

type Inner = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// How one family splits text before merging.
struct Rule {
    /// Applied one after the other.
    patterns: &'static [&'static str],
    /// Whether a word that is a token as a whole is taken without merging.
    whole_words: bool,
    /// Whether prompts begin with the begin token unless the file says otherwise.
    begins: bool,
}

impl Rule {
    fn find(name: &str) -> Option<Self> {
        let rule = |patterns| Self {
            patterns,
            whole_words: false,
            begins: false,
        };
        Some(match name {
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" => Self {
                patterns: &[LLAMA3],
                whole_words: true,
                begins: true,
            },
            "dbrx" | "smaug-bpe" | "chatglm-bpe" | "gpt-4" => rule(&[LLAMA3]),
            "qwen2" | "deepseek-r1-qwen" | "megrez" | "stablelm2" | "hunyuan" => rule(&[QWEN2]),
            "gpt-4o" | "llama4" => rule(&[O200K]),
            "tekken" => Self {
                patterns: &[TEKKEN],
                whole_words: true,
                begins: true,
            },
            "default" | "gpt-2" | "phi-2" | "mpt" | "olmo" | "jina-es" | "jina-de"
            | "roberta-bpe" => rule(&[GPT2]),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" => {
                rule(&[DIGIT, GPT2])
            }
            _ => return None,
        })
    }
}

/// Refuses a splitting rule that is not known.
pub(crate) fn check(metadata: &Metadata) -> Result<(), Refusal> {
    rule(metadata).map(|_| ())
}

fn rule(metadata: &Metadata) -> Result<Rule, Refusal> {
    let name = metadata
        .find_text("tokenizer.ggml.pre")
        .unwrap_or("default");
    Rule::find(name).ok_or_else(|| {
        Refusal(format!(
            "the tokenizer's splitting rule '{name}' is not supported"
        ))
    })
}

/// A byte-level BPE splitter.
pub(crate) struct Bpe {
    inner: Inner,
    begins: bool,
}

impl Bpe {
    pub(crate) fn from_metadata(metadata: &Metadata, tokens: &[&str]) -> Result<Self, Refusal> {
        let rule = rule(metadata)?;
        let merges = metadata
            .find_texts("tokenizer.ggml.merges")
            .ok_or_else(|| Refusal::new("the file has no merges (tokenizer.ggml.merges)"))?
            .into_iter()
            .map(|merge| {
                merge
                    .split_once(' ')
                    .map(|(left, right)| (left.to_owned(), right.to_owned()))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Refusal::new("a merge in the file is not a pair"))?;
        // Where a text appears twice, the first id is the one that counts.
        let mut vocabulary = std::collections::HashMap::with_capacity(tokens.len());
        for (id, token) in (0u32..).zip(tokens) {
            vocabulary.entry((*token).to_owned()).or_insert(id);
        }
        let model = BPE::builder()
            .vocab_and_merges(
                vocabulary
                    .into_iter()
                    .collect::<tokenizers::models::bpe::Vocab>(),
                merges,
            )
            .ignore_merges(rule.whole_words)
            .cache_capacity(CACHED_WORDS)
            .build()
            .map_err(|error| {
                Refusal(format!(
                    "the file's merges do not fit its vocabulary: {error}"
                ))
            })?;
        let mut steps = Vec::new();
        for pattern in rule.patterns {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| Refusal(error.to_string()))?;
            steps.push(PreTokenizerWrapper::Split(split));
        }
        steps.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(
            false, false, false,
        )));
        let inner = TokenizerBuilder::new()
            .with_model(model)
            .with_normalizer(None)
            .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(steps))))
            .with_post_processor(None)
            .with_decoder(None)
            .build()
            .map_err(|error| Refusal(error.to_string()))?;
        Ok(Self {
            inner,
            begins: rule.begins,
        })
    }

    pub(crate) fn begins_by_default(&self) -> bool {
        self.begins
    }

    pub(crate) fn split(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), EngineError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| EngineError::Failed(error.to_string()))?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }
}
