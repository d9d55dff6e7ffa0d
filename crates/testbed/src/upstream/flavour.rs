//! Which server an upstream looks like, and the shapes in which each says no.

use serde_json::{Value, json};

/// The server an upstream looks like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Ollama 0.33: its own dialect, and OpenAI's and Anthropic's on `/v1`.
    Ollama,
    /// vLLM: OpenAI's dialect, `continue_final_message`, integer error codes.
    Vllm,
    /// llama.cpp's server: OpenAI's dialect for one model that answers to any name.
    LlamaServer,
    /// Some server with OpenAI's dialect that cannot continue an answer.
    Other,
}

impl Flavour {
    /// Returns the version the server reports.
    pub fn version(self) -> &'static str {
        match self {
            Self::Ollama => "0.33.0",
            Self::Vllm => "0.32.0",
            Self::LlamaServer => "b9200-1a2b3c4d",
            Self::Other => "1.0",
        }
    }

    /// Returns what stands in `owned_by` of its model list.
    pub(super) fn owner(self) -> &'static str {
        match self {
            Self::Ollama => "library",
            Self::Vllm => "vllm",
            Self::LlamaServer => "llamacpp",
            Self::Other => "other",
        }
    }

    /// Returns the `Server` header it sends.
    pub(super) fn server_header(self) -> Option<&'static str> {
        match self {
            Self::Vllm => Some("uvicorn"),
            Self::LlamaServer => Some("llama.cpp"),
            Self::Ollama | Self::Other => None,
        }
    }

    /// Returns the error body for a path of this server.
    pub(super) fn error_body(self, path: &str, status: u16, message: &str) -> Value {
        if path == "/v1/messages" && self != Self::LlamaServer {
            let kind = match status {
                400 => "invalid_request_error",
                401 => "authentication_error",
                404 => "not_found_error",
                429 => "rate_limit_error",
                503 | 529 => "overloaded_error",
                _ => "api_error",
            };
            return json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_scripted"});
        }
        match self {
            Self::Ollama if path.starts_with("/v1/") => {
                let kind = match status {
                    400 => "invalid_request_error",
                    404 => "not_found_error",
                    _ => "api_error",
                };
                json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
            }
            Self::Ollama => json!({"error": message}),
            Self::Vllm if status == 401 => json!({"error": "Unauthorized"}),
            Self::Vllm => {
                let kind = match status {
                    400 => "BadRequestError",
                    404 => "NotFoundError",
                    503 => "ServiceUnavailableError",
                    _ => "InternalServerError",
                };
                json!({"error": {"message": message, "type": kind, "param": null, "code": status}})
            }
            Self::LlamaServer => {
                let kind = match status {
                    400 => "invalid_request_error",
                    401 => "authentication_error",
                    403 => "permission_error",
                    404 => "not_found_error",
                    501 => "not_supported_error",
                    503 => "unavailable_error",
                    _ => "server_error",
                };
                json!({"error": {"code": status, "message": message, "type": kind}})
            }
            Self::Other => {
                json!({"error": {"message": message, "type": "error", "param": null, "code": null}})
            }
        }
    }
}
