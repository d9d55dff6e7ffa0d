//! The lines of a batch: read from the input, and written to the output.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::model::Fault;

/// The longest line of an input, in bytes.
pub(crate) const LONGEST: usize = 4 << 20;
/// The longest name of a line.
const LONGEST_NAME: usize = 512;

/// How far a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineState {
    Waiting,
    Completed,
    Failed,
}

impl LineState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// A request as it stands in the input.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) custom_id: String,
    method: String,
    url: String,
    body: Box<RawValue>,
    #[serde(skip)]
    pub(crate) model: String,
}

/// What is kept of a line until it is answered.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Kept {
    pub(crate) custom_id: String,
    pub(crate) body: Box<RawValue>,
}

/// What a line came to.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Came {
    pub(crate) custom_id: String,
    pub(crate) response: Option<Response>,
    pub(crate) error: Option<NoAnswer>,
}

/// An answer.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Response {
    pub(crate) status_code: u16,
    pub(crate) request_id: String,
    pub(crate) body: Box<RawValue>,
}

/// Why there is no answer.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct NoAnswer {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What a body says that matters here.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    model: Option<Value>,
    #[serde(default)]
    stream: Option<bool>,
}

fn fault(code: &str, line: i64, param: Option<&str>, message: impl Into<String>) -> Fault {
    Fault {
        code: code.to_owned(),
        message: message.into(),
        param: param.map(str::to_owned),
        line: Some(line),
    }
}

impl Line {
    /// Reads a line, numbered from 1, of a batch for `endpoint`.
    pub(crate) fn read(text: &[u8], number: i64, endpoint: &str) -> Result<Self, Fault> {
        let mut line: Self = serde_json::from_slice(text).map_err(|error| {
            let message = format!(
                "this line is not a request ({error}): write {{\"custom_id\": …, \"method\": \"POST\", \"url\": \"{endpoint}\", \"body\": {{…}}}}"
            );
            fault("invalid_json_line", number, None, message)
        })?;
        if line.custom_id.is_empty() || line.custom_id.len() > LONGEST_NAME {
            let message = format!("custom_id must have 1 to {LONGEST_NAME} bytes");
            return Err(fault(
                "invalid_custom_id",
                number,
                Some("custom_id"),
                message,
            ));
        }
        if line.method != "POST" {
            let message = format!("method must be \"POST\", not {:?}", line.method);
            return Err(fault("invalid_method", number, Some("method"), message));
        }
        if line.url != endpoint {
            let message = format!(
                "url must be the batch's endpoint {endpoint:?}, not {:?}",
                line.url.chars().take(64).collect::<String>()
            );
            return Err(fault("invalid_url", number, Some("url"), message));
        }
        let body: Body = serde_json::from_str(line.body.get()).map_err(|error| {
            let message = format!("body is not a request ({error})");
            fault("invalid_body", number, Some("body"), message)
        })?;
        match body.model {
            Some(Value::String(model)) if !model.trim().is_empty() => line.model = model,
            _ => {
                let message = "body.model must name the model";
                return Err(fault("missing_model", number, Some("body.model"), message));
            }
        }
        if body.stream == Some(true) {
            let message = "body.stream must be left out: a batch has whole answers";
            return Err(fault(
                "invalid_stream",
                number,
                Some("body.stream"),
                message,
            ));
        }
        Ok(line)
    }

    /// Returns what is kept of it.
    pub(crate) fn kept(self) -> Kept {
        Kept {
            custom_id: self.custom_id,
            body: self.body,
        }
    }
}

impl Came {
    /// Writes a line of a result.
    pub(crate) fn line(&self, batch: &str, number: i64) -> String {
        #[derive(Serialize)]
        struct Written<'a> {
            id: String,
            #[serde(flatten)]
            came: &'a Came,
        }
        let id = format!("batch_req_{}_{number}", batch.trim_start_matches("batch_"));
        // What was read as JSON can be written as JSON.
        let mut line = serde_json::to_string(&Written { id, came: self }).unwrap_or_default();
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: &str = "/v1/chat/completions";

    #[test]
    fn what_is_wrong_with_a_line_is_named() {
        for (text, code) in [
            ("", "invalid_json_line"),
            ("[1]", "invalid_json_line"),
            (
                r#"{"custom_id":"","method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}"#,
                "invalid_custom_id",
            ),
            (
                r#"{"custom_id":"a","method":"GET","url":"/v1/chat/completions","body":{"model":"m"}}"#,
                "invalid_method",
            ),
            (
                r#"{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m"}}"#,
                "invalid_url",
            ),
            (
                r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":7}"#,
                "invalid_body",
            ),
            (
                r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}"#,
                "missing_model",
            ),
            (
                r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","stream":true}}"#,
                "invalid_stream",
            ),
        ] {
            let fault = Line::read(text.as_bytes(), 3, ENDPOINT).unwrap_err();
            assert_eq!((fault.code.as_str(), fault.line), (code, Some(3)), "{text}");
        }
    }

    #[test]
    fn a_body_stays_as_it_was_written() {
        let text = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"z":1e400,"model":"m","a":0.10}}"#;
        let line = Line::read(text.as_bytes(), 1, ENDPOINT).unwrap();
        assert_eq!(
            line.kept().body.get(),
            r#"{"z":1e400,"model":"m","a":0.10}"#
        );
    }
}
