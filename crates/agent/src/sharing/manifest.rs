//! What a model's manifest says of its files.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde::Deserialize;

use super::model_name::hex_of;

/// The most bytes of a manifest, and the most files that it names.
pub(crate) const MOST_BYTES: usize = 4 << 20;
const MOST_FILES: usize = 10_000;

/// A manifest as it was read: its bytes count, as its digest is made of them.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) text: Bytes,
    /// The hex digits of its SHA-256.
    pub(crate) digest: String,
    /// The hex digits of each file's digest, and its size.
    pub(crate) files: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Text {
    config: Layer,
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    digest: String,
    size: u64,
}

impl Manifest {
    /// Reads a manifest; `None` where it is none.
    pub(crate) fn read(text: Bytes) -> Option<Self> {
        let read: Text = serde_json::from_slice(&text).ok()?;
        let files: Option<BTreeMap<String, u64>> = read
            .layers
            .into_iter()
            .chain([read.config])
            .map(|layer| Some((hex_of(&layer.digest)?.to_owned(), layer.size)))
            .collect();
        let files = files.filter(|files| files.len() <= MOST_FILES)?;
        Some(Self {
            digest: hex::encode(digest(&SHA256, &text)),
            text,
            files,
        })
    }

    /// Returns the size of all files together.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().copied().fold(0, u64::saturating_add)
    }
}
