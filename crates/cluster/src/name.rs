//! Model names as keys: `Llama3` and `llama3:latest` are the same model.

use std::borrow::Cow;

/// The longest model name that is taken from a node, in bytes.
pub(crate) const MAX_BYTES: usize = 512;

/// Returns the name under which a model is indexed: lower case, without `:latest`. Allocates only when the name changes.
pub fn model_key(name: &str) -> Cow<'_, str> {
    let trimmed = match name.len().checked_sub(LATEST.len()) {
        Some(at)
            if at > 0
                && name
                    .as_bytes()
                    .get(at..)
                    .is_some_and(|tail| tail.eq_ignore_ascii_case(LATEST)) =>
        {
            name.get(..at).unwrap_or(name)
        }
        _ => name,
    };
    if trimmed.chars().any(char::is_uppercase) {
        Cow::Owned(trimmed.to_lowercase())
    } else {
        Cow::Borrowed(trimmed)
    }
}

const LATEST: &[u8] = b":latest";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_model_have_one_key() {
        for name in ["llama3", "llama3:latest", "Llama3:LATEST", "LLAMA3"] {
            assert_eq!(model_key(name), "llama3", "{name}");
        }
        assert_eq!(model_key("llama3:8b"), "llama3:8b");
        assert_eq!(model_key("Qwen/Qwen2.5-7B"), "qwen/qwen2.5-7b");
        assert_eq!(model_key(":latest"), ":latest");
        assert_eq!(model_key("é:latest"), "é");
        assert!(matches!(model_key("llama3:latest"), Cow::Borrowed(_)));
    }
}
