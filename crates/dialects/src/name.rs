//! Model names as Ollama compares them.

use std::fmt;

use crate::error::ApiError;

/// The longest name of a model that is taken, in bytes: those of the registries have less than half of that. Names are kept in
/// records, so that somebody's noise must not become everybody's.
pub const LONGEST_NAME: usize = 512;

/// Refuses a name that no model can have.
///
/// # Errors
///
/// `Invalid` for one that is longer than [`LONGEST_NAME`].
pub fn check_name(name: &str) -> Result<(), ApiError> {
    if name.len() <= LONGEST_NAME {
        return Ok(());
    }
    Err(ApiError::invalid_field(
        "model",
        format!(
            "the name of the model has {} bytes, and the longest may have {LONGEST_NAME}",
            name.len()
        ),
    ))
}

/// A model name by which two spellings of one model are equal: `M` and `m:latest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName(String);

impl ModelName {
    /// Normalises a name: lower case, tag `latest` when it has none.
    pub fn new(name: &str) -> Self {
        let mut normal = name.trim().to_lowercase();
        let last = normal.rsplit('/').next().unwrap_or_default();
        if !last.contains(':') && !last.is_empty() {
            normal.push_str(":latest");
        }
        Self(normal)
    }

    /// Returns the normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_model_are_equal() {
        assert_eq!(ModelName::new("Mistral"), ModelName::new("mistral:latest"));
        assert_eq!(
            ModelName::new("hf.co:443/Org/M").as_str(),
            "hf.co:443/org/m:latest"
        );
        assert_ne!(ModelName::new("m:7b"), ModelName::new("m"));
        assert_eq!(ModelName::new("").as_str(), "");
    }
}
