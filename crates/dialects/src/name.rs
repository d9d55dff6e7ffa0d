//! Model names as Ollama compares them.

use std::fmt;

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
