//! Where a value came from, so that an error names the file and line, the environment variable or the flag.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::error::ConfigError;

/// The way to a value: section, then names or indexes, then the key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<String>);

impl KeyPath {
    /// Makes a path from its parts.
    pub fn new<S: Into<String>>(parts: impl IntoIterator<Item = S>) -> Self {
        Self(parts.into_iter().map(Into::into).collect())
    }

    /// Returns the parts.
    pub fn parts(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for KeyPath {
    /// Writes `[server] listen`, `[models."a:b"] policy`, or the bare name of a section.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((key, sections)) = self.0.split_last() else {
            return Ok(());
        };
        let Some((first, inner)) = sections.split_first() else {
            return f.write_str(key);
        };
        write!(f, "[{first}")?;
        for part in inner {
            if part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            {
                write!(f, ".{part}")?;
            } else {
                write!(f, ".{part:?}")?;
            }
        }
        write!(f, "] {key}")
    }
}

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    File { path: PathBuf, line: Option<usize> },
    Variable(String),
    Flag(&'static str),
    Program,
}

/// A value's path and who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    origin: Origin,
    path: KeyPath,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}: {}", path.display(), self.path),
            Origin::File { path, line: None } => {
                write!(f, "{}: {}", path.display(), self.path)
            }
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Flag(flag) => f.write_str(flag),
            Origin::Program => write!(f, "configuration: {}", self.path),
        }
    }
}

/// Who set which value. Values that nobody set are the program's defaults.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    set: BTreeMap<KeyPath, Origin>,
}

impl Origins {
    pub(super) fn set_file(&mut self, path: KeyPath, file: PathBuf, line: Option<usize>) {
        self.set.insert(path, Origin::File { path: file, line });
    }

    pub(super) fn set_variable(&mut self, path: KeyPath, name: &str) {
        self.set.insert(path, Origin::Variable(name.to_owned()));
    }

    pub(super) fn set_flag<const N: usize>(&mut self, path: [&str; N], flag: &'static str) {
        self.set.insert(KeyPath::new(path), Origin::Flag(flag));
    }

    /// Returns the place of a value.
    pub fn place(&self, path: KeyPath) -> Place {
        let origin = self.set.get(&path).cloned().unwrap_or(Origin::Program);
        Place { origin, path }
    }

    /// Makes the error for a value that cannot be used.
    pub fn bad<S: Into<String>>(
        &self,
        path: impl IntoIterator<Item = S>,
        reason: impl Into<String>,
    ) -> ConfigError {
        ConfigError::BadValue {
            place: self.place(KeyPath::new(path)),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_the_file() {
        assert_eq!(
            KeyPath::new(["server", "listen"]).to_string(),
            "[server] listen"
        );
        assert_eq!(
            KeyPath::new(["models", "a:b", "policy"]).to_string(),
            "[models.\"a:b\"] policy"
        );
        assert_eq!(
            KeyPath::new(["nodes", "2", "url"]).to_string(),
            "[nodes.2] url"
        );
        assert_eq!(KeyPath::new(["bogus"]).to_string(), "bogus");
    }
}
