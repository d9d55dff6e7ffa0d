//! Generating models on the engine's own decoder.

use std::rc::Rc;

use candle_core::Tensor;

use super::{PROMPT_PIECE, Resources, Session, Shape, TextModel};
use crate::error::EngineError;
use crate::file::{GgufFile, Refusal};
use crate::model::cache::KvCache;
use crate::model::decoder::Decoder;
use crate::model::spec::DecoderSpec;

pub(super) fn inspect(file: &GgufFile) -> Result<Shape, Refusal> {
    let spec = DecoderSpec::read(file)?;
    Ok(Shape {
        context: spec.context,
        width: spec.width,
    })
}

pub(super) fn load(
    file: &mut GgufFile,
    resources: Resources,
) -> Result<Box<dyn TextModel>, Refusal> {
    let spec = DecoderSpec::read(file)?;
    let context = spec.context.min(resources.context);
    Ok(Box::new(Model {
        decoder: Rc::new(Decoder::load(spec, file, context)?),
        context,
    }))
}

struct Model {
    decoder: Rc<Decoder>,
    context: usize,
}

impl TextModel for Model {
    fn context(&self) -> usize {
        self.context
    }

    fn start(&self) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Sequence {
            cache: KvCache::new(self.decoder.spec()),
            decoder: self.decoder.clone(),
        }))
    }

    fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        let mut cache = KvCache::new(self.decoder.spec());
        let mut states = Vec::new();
        for piece in tokens.chunks(PROMPT_PIECE) {
            let hidden = self.decoder.read(piece, &mut cache)?;
            states.push(self.decoder.normed(&hidden)?);
        }
        Ok(Tensor::cat(&states, 0)?.mean(0)?.to_vec1()?)
    }
}

struct Sequence {
    decoder: Rc<Decoder>,
    cache: KvCache,
}

impl Session for Sequence {
    fn len(&self) -> usize {
        self.cache.len()
    }

    fn size_bytes(&self) -> usize {
        self.cache.size_bytes()
    }

    fn truncate(&mut self, length: usize) {
        self.cache.truncate(length);
    }

    fn fork(&self, length: usize) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Self {
            decoder: self.decoder.clone(),
            cache: self.cache.fork(length)?,
        }))
    }

    fn read(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
        self.decoder.read(tokens, &mut self.cache)?;
        Ok(())
    }

    fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        let hidden = self.decoder.read(tokens, &mut self.cache)?;
        Ok(self.decoder.scores(&hidden)?)
    }
}
