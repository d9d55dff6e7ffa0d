//! Models in memory: decoders that generate and encoders that embed.

pub(crate) mod attention;
pub(crate) mod cache;
pub(crate) mod decoder;
pub(crate) mod encoder;
pub(crate) mod encoder_spec;
pub(crate) mod matrix;
pub(crate) mod rope;
pub(crate) mod spec;
pub(crate) mod weights;
