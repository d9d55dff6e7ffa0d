//! Generating models on llama.cpp. Every sequence has a context of its own, which grows as it reads.

mod context;
mod log;

use std::path::Path;
use std::rc::Rc;
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;

use super::{Resources, Session, Shape, TextModel};
use crate::error::EngineError;
use crate::file::{GgufFile, Metadata, Refusal, Source};
use context::Sequence;

pub(super) const BUILT: bool = true;

/// Bounds on what a header may claim.
const MOST_CONTEXT: usize = 1 << 24;
const MOST_WIDTH: usize = 1 << 17;

pub(super) fn inspect(file: &GgufFile, source: &Source) -> Result<Shape, Refusal> {
    let shape = shape(&file.metadata)?;
    // Reads the header and the vocabulary only, and so finds whether llama.cpp knows the architecture.
    open(
        path(source)?,
        &LlamaModelParams::default().with_vocab_only(true),
    )?;
    Ok(shape)
}

pub(super) fn load(
    file: &mut GgufFile,
    source: &Source,
    resources: Resources,
) -> Result<Box<dyn TextModel>, Refusal> {
    let shape = shape(&file.metadata)?;
    let inner = open(path(source)?, &LlamaModelParams::default())?;
    let weights = Weights {
        context: shape.context.min(resources.context),
        threads: i32::try_from(resources.threads).unwrap_or(1),
        token_bytes: token_bytes(&inner, &file.metadata),
        inner,
    };
    Ok(Box::new(Model(Rc::new(weights))))
}

/// Returns llama.cpp's process-wide state, which lives as long as the process.
fn runtime() -> Result<&'static LlamaBackend, Refusal> {
    static RUNTIME: OnceLock<Result<LlamaBackend, String>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            log::send_to_tracing();
            LlamaBackend::init().map_err(|error| error.to_string())
        })
        .as_ref()
        .map_err(|error| Refusal(format!("llama.cpp cannot start: {error}")))
}

fn open(path: &Path, params: &LlamaModelParams) -> Result<LlamaModel, Refusal> {
    let runtime = runtime()?;
    log::forget();
    LlamaModel::load_from_file(runtime, path, params).map_err(|error| {
        let reason = log::last_error().unwrap_or_else(|| error.to_string());
        Refusal(format!("llama.cpp cannot load it: {reason}"))
    })
}

fn path(source: &Source) -> Result<&Path, Refusal> {
    match source {
        Source::Path(path) => Ok(path),
        Source::Embedded(_) => Err(Refusal::new("llama.cpp reads files only")),
    }
}

fn shape(metadata: &Metadata) -> Result<Shape, Refusal> {
    let name = metadata.text("general.architecture")?;
    Ok(Shape {
        context: metadata.count(&format!("{name}.context_length"), MOST_CONTEXT)?,
        width: metadata.count(&format!("{name}.embedding_length"), MOST_WIDTH)?,
    })
}

/// Estimates the bytes that one token takes in a context: keys and values of 16 bits in every layer.
fn token_bytes(model: &LlamaModel, metadata: &Metadata) -> usize {
    let name = metadata.find_text("general.architecture").unwrap_or("");
    let heads = (model.n_head().max(1)) as usize;
    let head_width = metadata
        .find_number(&format!("{name}.attention.key_length"))
        .and_then(|width| usize::try_from(width).ok())
        .unwrap_or(model.n_embd().unsigned_abs() as usize / heads);
    2 * size_of::<u16>() * head_width * model.n_head_kv() as usize * model.n_layer() as usize
}

/// A loaded file and how to use it.
struct Weights {
    inner: LlamaModel,
    context: usize,
    threads: i32,
    token_bytes: usize,
}

struct Model(Rc<Weights>);

impl TextModel for Model {
    fn context(&self) -> usize {
        self.0.context
    }

    fn start(&self) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Sequence::new(self.0.clone(), 0)?))
    }

    fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        context::mean_of_states(self.0.clone(), tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Tokenizer;

    #[test]
    fn our_tokenizer_splits_as_llama_cpp_does() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/remuda-demo.gguf");
        let file = GgufFile::open(&Source::Path(path.clone())).unwrap();
        let ours = Tokenizer::from_gguf(&file).unwrap();
        let theirs = open(&path, &LlamaModelParams::default().with_vocab_only(true)).unwrap();
        for text in [
            "What is Remuda?",
            "  two  spaces,\ttabs\n\n\nand lines \r\n",
            "I'll don't THEY'RE we've 1234567 3.14",
            "naïve café Ünïcödé 日本語 русский عربى 🐎🐎",
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
            "fn main() { println!(\"{}\", a[0]); } // <|im_star|>",
            "",
        ] {
            let expected: Vec<u32> = theirs
                .vocab()
                .tokenize(text.as_bytes(), true, true)
                .into_iter()
                .map(|token| token.0.cast_unsigned())
                .collect();
            assert_eq!(ours.encode(text).unwrap(), expected, "{text:?}");
        }
    }
}
