//! A model in memory with everything that its thread needs.

use crate::backend::{Resources, TextModel};
use crate::file::{GgufFile, Refusal, Source};
use crate::model::encoder::Encoder;
use crate::model::encoder_spec::EncoderSpec;
use crate::runner::Limits;
use crate::template::Template;
use crate::tokenizer::Tokenizer;

/// The architecture name of encoders in GGUF files.
pub(crate) const ENCODER: &str = "bert";

/// A loaded model.
pub(crate) struct Loaded {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) body: Body,
}

/// What the model computes.
pub(crate) enum Body {
    /// Generates text.
    Decoder {
        model: Box<dyn TextModel>,
        template: Box<Template>,
    },
    /// Embeds text.
    Encoder(Box<Encoder>),
}

impl Loaded {
    /// Reads a model into memory. The file is checked again: it may have changed since the engine started.
    pub(crate) fn load(source: &Source, limits: &Limits) -> Result<Self, Refusal> {
        if let Source::Path(path) = source
            && path.is_dir()
        {
            let spec = EncoderSpec::read_directory(path)?;
            return Ok(Self {
                tokenizer: Tokenizer::from_directory(path)?,
                body: Body::Encoder(Box::new(Encoder::load_directory(spec, path)?)),
            });
        }
        let mut file = GgufFile::open(source)?;
        let tokenizer = Tokenizer::from_gguf(&file)?;
        if file.metadata.find_text("general.architecture") == Some(ENCODER) {
            let spec = EncoderSpec::read(&file)?;
            return Ok(Self {
                tokenizer,
                body: Body::Encoder(Box::new(Encoder::load(spec, &mut file)?)),
            });
        }
        let template = Template::parse(
            file.metadata.find_text("tokenizer.chat_template"),
            tokenizer.begin_text(),
            tokenizer.end_text(),
            limits.clock.clone(),
        )?;
        let resources = Resources {
            context: limits.max_context,
            threads: limits.threads,
        };
        let model = limits.backend.load(&mut file, source, resources)?;
        Ok(Self {
            tokenizer,
            body: Body::Decoder {
                model,
                template: Box::new(template),
            },
        })
    }
}
