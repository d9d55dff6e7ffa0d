//! Typed access to a GGUF file's metadata. Writers disagree on integer widths, so numbers are taken from any of them.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;

use super::Refusal;

/// The key-value pairs of a GGUF header.
#[derive(Debug)]
pub(crate) struct Metadata(HashMap<String, Value>);

impl Metadata {
    pub(crate) fn new(values: HashMap<String, Value>) -> Self {
        Self(values)
    }

    /// Finds a text.
    pub(crate) fn find_text(&self, key: &str) -> Option<&str> {
        match self.0.get(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Finds a whole number that is not negative. An array whose elements are all equal counts as that number.
    pub(crate) fn find_number(&self, key: &str) -> Option<u64> {
        match self.0.get(key)? {
            Value::Array(values) => {
                let first = whole(values.first()?)?;
                values
                    .iter()
                    .all(|value| whole(value) == Some(first))
                    .then_some(first)
            }
            value => whole(value),
        }
    }

    /// Finds a real number.
    pub(crate) fn find_real(&self, key: &str) -> Option<f64> {
        match self.0.get(key)? {
            Value::F32(value) => Some(f64::from(*value)),
            Value::F64(value) => Some(*value),
            value => whole(value).map(|value| value as f64),
        }
    }

    /// Finds a yes or no.
    pub(crate) fn find_flag(&self, key: &str) -> Option<bool> {
        match self.0.get(key)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Finds an array.
    pub(crate) fn find_array(&self, key: &str) -> Option<&[Value]> {
        match self.0.get(key)? {
            Value::Array(values) => Some(values),
            _ => None,
        }
    }

    /// Finds an array of texts.
    pub(crate) fn find_texts(&self, key: &str) -> Option<Vec<&str>> {
        self.find_array(key)?
            .iter()
            .map(|value| match value {
                Value::String(text) => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Returns a text, or the refusal that it is missing.
    pub(crate) fn text(&self, key: &str) -> Result<&str, Refusal> {
        self.find_text(key)
            .ok_or_else(|| Refusal(format!("the file's metadata has no text '{key}'")))
    }

    /// Returns a positive number no larger than `most`, or the refusal that it is missing or out of range.
    pub(crate) fn count(&self, key: &str, most: usize) -> Result<usize, Refusal> {
        let value = self
            .find_number(key)
            .ok_or_else(|| Refusal(format!("the file's metadata has no number '{key}'")))?;
        match usize::try_from(value) {
            Ok(count) if (1..=most).contains(&count) => Ok(count),
            _ => Err(Refusal(format!(
                "'{key}' is {value}, which is not between 1 and {most}"
            ))),
        }
    }
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::U8(v) => Some(u64::from(*v)),
        Value::U16(v) => Some(u64::from(*v)),
        Value::U32(v) => Some(u64::from(*v)),
        Value::U64(v) => Some(*v),
        Value::I8(v) => u64::try_from(*v).ok(),
        Value::I16(v) => u64::try_from(*v).ok(),
        Value::I32(v) => u64::try_from(*v).ok(),
        Value::I64(v) => u64::try_from(*v).ok(),
        _ => None,
    }
}
