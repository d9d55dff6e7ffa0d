//! Steps of an inference.

use serde::Serialize;

/// A step of an inference. Never its text.
#[derive(Clone, Debug, Serialize)]
pub struct InferenceEvent<'a> {
    /// The inference's id.
    pub inference_id: String,
    /// `queued`, `started`, `progress`, `completed`, `failed` or `cancelled`.
    pub status: &'a str,
    /// From 0 to 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    /// The node that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<&'a str>,
    /// Tokens of the answer so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<u64>,
    /// The number of the last piece of output that can be read, where the answer is fetched and not streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub piece: Option<i64>,
    /// Why it did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}
