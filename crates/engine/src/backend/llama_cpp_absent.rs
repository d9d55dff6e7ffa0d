//! Stands in for llama.cpp in programs built without it: every file is refused with what to do.

use super::{Resources, Shape, TextModel};
use crate::file::{GgufFile, Refusal, Source};

pub(super) const BUILT: bool = false;

pub(super) fn inspect(_file: &GgufFile, _source: &Source) -> Result<Shape, Refusal> {
    Err(refusal())
}

pub(super) fn load(
    _file: &mut GgufFile,
    _source: &Source,
    _resources: Resources,
) -> Result<Box<dyn TextModel>, Refusal> {
    Err(refusal())
}

fn refusal() -> Refusal {
    Refusal::new(
        "this program was built without llama.cpp: build it with the cargo feature 'llama-cpp', or set the backend to 'candle'",
    )
}
