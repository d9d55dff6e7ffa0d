//! What the agent has the model server do with models: pull, copy, delete, by Ollama's API.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::ModelServer;
use super::call::CallError;

/// The most bytes of one line of progress, and of an answer to a command.
const LONGEST_LINE: usize = 1 << 20;
/// The most characters of what the server says.
const KEPT: usize = 500;
/// How long the server may be silent while it pulls: it checks what it has fetched without a word.
const SILENCE: Duration = Duration::from_mins(10);
/// How long a command may take that fetches nothing.
const QUICK: Duration = Duration::from_mins(2);

/// What the server says of a pull.
pub(crate) enum PullLine {
    /// How far one part of the model is.
    Part {
        digest: String,
        total_bytes: u64,
        done_bytes: u64,
    },
    /// The model is there.
    Done,
    /// It is not.
    Error(String),
}

/// The answer to a pull, line by line.
pub(crate) struct PullLines {
    body: Incoming,
    buffer: BytesMut,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    status: String,
    digest: Option<String>,
    total: Option<u64>,
    completed: Option<u64>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    models: Vec<ListedModel>,
}

#[derive(Deserialize)]
struct ListedModel {
    name: String,
    digest: Option<String>,
}

impl ModelServer {
    /// Begins a pull from a registry that is reached without TLS.
    pub(crate) async fn pull(&self, model: &str) -> Result<PullLines, String> {
        let body = json!({"model": model, "insecure": true, "stream": true});
        let asked = self.send(Method::POST, "/api/pull", Some(&body));
        let answer = timeout(SILENCE, asked)
            .await
            .map_err(|_| "the model server does not answer".to_owned())?
            .map_err(CallError::into_text)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!(
                "the model server answers {status}: {}",
                said(answer.into_body()).await
            ));
        }
        Ok(PullLines {
            body: answer.into_body(),
            buffer: BytesMut::new(),
        })
    }

    /// Lists the models with their digests.
    pub(crate) async fn digests(&self) -> Result<Vec<(String, Option<String>)>, String> {
        let listed: Listed = self.json("/api/tags").await.map_err(CallError::into_text)?;
        let models = listed.models.into_iter();
        Ok(models.map(|model| (model.name, model.digest)).collect())
    }

    /// Gives a model another name beside the one it has, in place of what had that name.
    pub(crate) async fn copy(&self, model: &str, name: &str) -> Result<(), String> {
        let body = json!({"source": model, "destination": name});
        self.tell(Method::POST, "/api/copy", &body).await
    }

    /// Deletes a name, and the files that no other name needs.
    pub(crate) async fn delete(&self, model: &str) -> Result<(), String> {
        let body = json!({"model": model});
        self.tell(Method::DELETE, "/api/delete", &body).await
    }

    async fn tell(&self, method: Method, path: &str, body: &Value) -> Result<(), String> {
        let answer = timeout(QUICK, self.send(method, path, Some(body)))
            .await
            .map_err(|_| format!("the model server does not answer to {path}"))?
            .map_err(CallError::into_text)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        Err(format!(
            "the model server answers {status} to {path}: {}",
            said(answer.into_body()).await
        ))
    }
}

impl PullLines {
    /// Waits for the next line that says something.
    pub(crate) async fn next(&mut self) -> Result<PullLine, String> {
        loop {
            while let Some(line) = self.take_line() {
                let Ok(line) = serde_json::from_slice::<Line>(&line) else {
                    continue;
                };
                if let Some(error) = line.error {
                    return Ok(PullLine::Error(shortened(&error)));
                }
                if line.status == "success" {
                    return Ok(PullLine::Done);
                }
                if let Some(digest) = line.digest {
                    return Ok(PullLine::Part {
                        digest,
                        total_bytes: line.total.unwrap_or(0),
                        done_bytes: line.completed.unwrap_or(0),
                    });
                }
            }
            if self.buffer.len() > LONGEST_LINE {
                return Err("what the model server tells of its pull cannot be read".to_owned());
            }
            match timeout(SILENCE, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let data: Bytes = frame.into_data().unwrap_or_default();
                    self.buffer.extend_from_slice(&data);
                }
                Ok(Some(Err(error))) => return Err(agent_proto::deepest(&error)),
                Ok(None) => return Err("the model server ended its pull without a word".to_owned()),
                Err(_) => {
                    let minutes = SILENCE.as_secs() / 60;
                    return Err(format!("the model server said nothing for {minutes} min"));
                }
            }
        }
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        Some(self.buffer.split_to(end + 1))
    }
}

/// Reads what the server says of its refusal.
async fn said(body: Incoming) -> String {
    let text = timeout(QUICK, Limited::new(body, LONGEST_LINE).collect()).await;
    let text = match text {
        Ok(Ok(text)) => text.to_bytes(),
        Ok(Err(_)) | Err(_) => Bytes::new(),
    };
    let told = serde_json::from_slice::<Line>(&text).ok();
    let told = told.and_then(|line| line.error);
    shortened(&told.unwrap_or_else(|| String::from_utf8_lossy(&text).into_owned()))
}

fn shortened(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(KEPT)
        .collect()
}
