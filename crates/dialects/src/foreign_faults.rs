//! What servers call a failure of their own, or just wrong, and what it is: by the words of vLLM, llama.cpp's server and
//! llama-cpp-python.

use primitives::ErrorKind;

use crate::envelope::CONTEXT_EXCEEDED;
use crate::error::ApiError;

/// The prompt is longer than the context.
const OVER_CONTEXT: [&str; 5] = [
    "maximum context length",
    "available context size",
    "exceed context window",
    "exceeds the context length",
    "is too large to process",
];
/// This server was not started for such requests; another one of the same model may have been.
const NOT_STARTED_FOR_IT: [&str; 4] = [
    "image input is not supported",
    "audio input is not supported",
    "does not support embeddings",
    "must be created with embedding=True",
];
/// A request that llama-cpp-python could not read. After a blank line its place in the server's program follows.
const NOT_READ: &str = " validation error";

/// Gives an error its right kind and code, so that nobody takes a client's mistake for a broken node.
pub(crate) fn put_right(error: &mut ApiError) {
    let says = |words: &[&str]| words.iter().any(|words| error.message.contains(words));
    let may_be = matches!(
        error.kind,
        ErrorKind::Invalid | ErrorKind::Upstream | ErrorKind::Unsupported
    );
    if !may_be {
        return;
    }
    if says(&OVER_CONTEXT) {
        error.kind = ErrorKind::Invalid;
        error.code = Some(CONTEXT_EXCEEDED.to_owned());
    } else if says(&NOT_STARTED_FOR_IT) {
        error.kind = ErrorKind::Unsupported;
    } else if error.kind == ErrorKind::Upstream
        && let Some((what, _)) = error.message.split_once("\n\n")
        && what.contains(NOT_READ)
    {
        error.kind = ErrorKind::Invalid;
        error.message = what.split_whitespace().collect::<Vec<_>>().join(" ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, decode_error};

    fn read(status: u16, message: &str) -> ApiError {
        let body = serde_json::json!({"error": {"message": message, "type": "internal_server_error", "code": null}});
        decode_error(Dialect::OpenAi, status, body.to_string().as_bytes())
    }

    #[test]
    fn prompts_over_the_context_are_known_by_their_words() {
        for (status, message) in [
            (
                400,
                "This model's maximum context length is 256 tokens. However, you requested 334 tokens",
            ),
            (
                400,
                "request (334 tokens) exceeds the available context size (256 tokens), try increasing it",
            ),
            (400, "Requested tokens (334) exceed context window of 256"),
            (
                500,
                "input (6002 tokens) is too large to process. increase the physical batch size (current batch size: 512)",
            ),
            (400, "the input length exceeds the context length"),
        ] {
            let error = read(status, message);
            assert_eq!(error.kind, ErrorKind::Invalid, "{message}");
            assert_eq!(error.code.as_deref(), Some(CONTEXT_EXCEEDED), "{message}");
        }
        assert_eq!(
            read(503, "maximum context length").kind,
            ErrorKind::Unavailable
        );
    }

    #[test]
    fn what_a_server_was_not_started_for_is_unsupported() {
        for message in [
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            "Llama model must be created with embedding=True to call this method",
        ] {
            assert_eq!(read(500, message).kind, ErrorKind::Unsupported, "{message}");
        }
        assert_eq!(read(500, "out of memory").kind, ErrorKind::Upstream);
    }

    #[test]
    fn a_request_that_was_not_read_is_the_clients_and_the_servers_files_are_not_told() {
        let error = read(
            500,
            "1 validation error:\n  {'loc': ('body', 'temperature'), 'msg': 'a number'}\n\n  File \"/srv/app.py\", line 376",
        );
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert_eq!(
            error.message,
            "1 validation error: {'loc': ('body', 'temperature'), 'msg': 'a number'}"
        );
    }
}
