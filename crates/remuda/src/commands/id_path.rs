//! An id from the command line as a part of a path.

use super::failure::Failure;

/// Puts an id behind a path.
///
/// # Errors
/// When the text is no id: nothing else may stand in a path. `what` names the thing, `list` the command that shows the ids.
pub(super) fn id_path(path: &str, id: &str, what: &str, list: &str) -> Result<String, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // A segment that begins with a dot may mean another path.
    if id.is_empty() || id.starts_with('.') || !id.bytes().all(plain) {
        return Err(Failure::Usage(format!(
            "{id:?} is not the id of {what}: `{list}` shows the ids"
        )));
    }
    Ok(format!("{path}/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_an_id_gets_into_a_path() {
        let path = |id| id_path("/api/v1/x", id, "an x", "remuda x list");
        for id in ["0198c0de-00", "batch_0198c0de", "0.2.0-linux-x86_64"] {
            assert_eq!(path(id).unwrap(), format!("/api/v1/x/{id}"));
        }
        for id in ["", "..", ".", "a/b", "a?b", "A b"] {
            assert!(path(id).is_err(), "{id}");
        }
    }
}
