//! What jobs hold is sealed, and bound to its place.

use ::store::{SealError, Sealer};
use primitives::JobId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::ChunkNumber;

/// Where a sealed value stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SealedPlace {
    Payload(JobId),
    Result(JobId),
    Output(JobId, ChunkNumber),
}

impl SealedPlace {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Payload(id) => format!("jobs|payload|{id}"),
            Self::Result(id) => format!("jobs|result|{id}"),
            Self::Output(id, number) => format!("job_chunks|output|{id}|{number}"),
        }
    }
}

pub(crate) fn seal(
    sealer: &Sealer,
    place: SealedPlace,
    value: &Value,
) -> Result<Vec<u8>, SealError> {
    sealer.seal(&place.name(), value.to_string().as_bytes())
}

/// Seals a value for a place of another table.
pub(crate) fn seal_named(
    sealer: &Sealer,
    place: &str,
    value: &impl Serialize,
) -> Result<Vec<u8>, SealError> {
    let text = serde_json::to_vec(value).map_err(|_| SealError::Damaged)?;
    sealer.seal(place, &text)
}

/// Opens a value of another table.
pub(crate) fn open_named<T: DeserializeOwned>(
    sealer: &Sealer,
    place: &str,
    envelope: &[u8],
) -> Result<T, SealError> {
    let plain = sealer.open(place, envelope)?;
    serde_json::from_slice(plain.expose()).map_err(|_| SealError::Damaged)
}

pub(crate) fn open(
    sealer: &Sealer,
    place: SealedPlace,
    envelope: &[u8],
) -> Result<Value, SealError> {
    let plain = sealer.open(&place.name(), envelope)?;
    serde_json::from_slice(plain.expose()).map_err(|_| SealError::Damaged)
}
