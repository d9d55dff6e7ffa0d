//! One embedding. It stays the text that the node wrote, so that numbers keep their spelling and nobody parses them twice.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::json::Json;

/// One embedding, as a JSON array of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector(Json);

impl Vector {
    /// Takes a JSON array as it stands in a response. Returns `None` for anything but an array.
    pub(crate) fn of_text(raw: &RawValue) -> Option<Self> {
        raw.get().starts_with('[').then(|| Self(raw.into()))
    }

    /// Returns how many bytes its text has.
    pub fn size(&self) -> usize {
        self.0.text().len()
    }

    /// Reads the numbers.
    ///
    /// # Errors
    /// `Upstream` when there is something else than numbers in it.
    pub fn numbers(&self) -> Result<Vec<f32>, ApiError> {
        self.0
            .read()
            .ok_or_else(|| ApiError::upstream("the node's embedding is not a list of numbers"))
    }
}

impl From<&[f32]> for Vector {
    fn from(numbers: &[f32]) -> Self {
        // Numbers always make an array; what is not a number (NaN) becomes null, as everywhere in JSON.
        let raw = serde_json::value::to_raw_value(numbers);
        Self(raw.map_or_else(
            |_| Json::from(RawValue::NULL),
            |raw| Json::from(raw.as_ref()),
        ))
    }
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_spelling() {
        let raw: &RawValue = serde_json::from_str("[1.0, 2e-07,-0.012345678918063641]").unwrap();
        let vector = Vector::of_text(raw).unwrap();
        assert_eq!(serde_json::to_string(&vector).unwrap(), raw.get());
        assert_eq!(vector.numbers().unwrap(), [1.0, 2e-7, -0.012_345_679]);
        let text: &RawValue = serde_json::from_str("\"AAAA\"").unwrap();
        assert_eq!(Vector::of_text(text), None);
        let words: &RawValue = serde_json::from_str("[\"a\"]").unwrap();
        assert!(Vector::of_text(words).unwrap().numbers().is_err());
        let made = Vector::from([0.5_f32, -1.0].as_slice());
        assert_eq!(serde_json::to_string(&made).unwrap(), "[0.5,-1.0]");
    }
}
