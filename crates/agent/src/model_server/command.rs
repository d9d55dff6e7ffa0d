//! Commands about models, carried out by the server beside the agent.

use std::pin::Pin;

use agent_proto::v1::model_command::Command;
use agent_proto::v1::{CommandProgress, ModelCommand};
use bytes::{Buf as _, BytesMut};
use futures_util::stream::{self, Stream, unfold};
use http::Method;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::Status;

use super::ModelServer;
use super::call::{CallError, whole};

/// The longest line of progress.
const LONGEST_LINE: usize = 64 << 10;

type Progress = Pin<Box<dyn Stream<Item = Result<CommandProgress, Status>> + Send>>;

/// What becomes of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Lines of progress.
    Lines,
    /// Nothing but that it is done.
    Done,
    /// A document to hand on.
    Document,
}

#[derive(Deserialize)]
struct Line {
    status: Option<String>,
    digest: Option<String>,
    total: Option<u64>,
    completed: Option<u64>,
    error: Option<String>,
}

/// Has the server carry a command out. Dropping the stream calls it off.
pub(crate) async fn run_command(
    server: &ModelServer,
    command: ModelCommand,
) -> Result<Progress, Status> {
    let command = command.command.ok_or_else(|| {
        Status::invalid_argument("this agent does not know the command: update the agent")
    })?;
    let (method, path, body, answer) = request(command);
    let response = server
        .send(method, path, Some(&body))
        .await
        .map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        let text = whole(response).await.unwrap_or_default();
        let said = serde_json::from_slice::<Line>(&text)
            .ok()
            .and_then(|line| line.error);
        return Err(match said {
            Some(said) if status.is_client_error() => Status::failed_precondition(said),
            Some(said) => Status::internal(said),
            None => Status::unimplemented(format!(
                "the model server answers {status} to {path}: only Ollama takes commands about models"
            )),
        });
    }
    match answer {
        Answer::Lines => Ok(Box::pin(lines(response.into_body()))),
        Answer::Done => {
            whole(response).await.map_err(failed)?;
            Ok(one(CommandProgress {
                status: "success".to_owned(),
                ..CommandProgress::default()
            }))
        }
        Answer::Document => {
            let text = whole(response).await.map_err(failed)?;
            Ok(one(CommandProgress {
                status: "success".to_owned(),
                answer: Some(String::from_utf8_lossy(&text).into_owned()),
                ..CommandProgress::default()
            }))
        }
    }
}

/// Says a command in Ollama's API.
fn request(command: Command) -> (Method, &'static str, Value, Answer) {
    match command {
        Command::Pull(it) => post(
            "/api/pull",
            json!({"model": it.model, "stream": true}),
            Answer::Lines,
        ),
        Command::Push(it) => post(
            "/api/push",
            json!({"model": it.model, "stream": true}),
            Answer::Lines,
        ),
        Command::Delete(it) => (
            Method::DELETE,
            "/api/delete",
            json!({"model": it.model}),
            Answer::Done,
        ),
        Command::Copy(it) => post(
            "/api/copy",
            json!({"source": it.source, "destination": it.destination}),
            Answer::Done,
        ),
        Command::Show(it) => post("/api/show", json!({"model": it.model}), Answer::Document),
        Command::Load(it) => post(
            "/api/generate",
            json!({"model": it.model, "stream": false}),
            Answer::Done,
        ),
        Command::Unload(it) => post(
            "/api/generate",
            json!({"model": it.model, "keep_alive": 0, "stream": false}),
            Answer::Done,
        ),
        Command::Create(it) => {
            let mut body = json!({"model": it.model, "from": it.from, "stream": true});
            if let Some(system) = it.system {
                body["system"] = system.into();
            }
            post("/api/create", body, Answer::Lines)
        }
    }
}

fn post(path: &'static str, body: Value, answer: Answer) -> (Method, &'static str, Value, Answer) {
    (Method::POST, path, body, answer)
}

fn one(progress: CommandProgress) -> Progress {
    Box::pin(stream::once(std::future::ready(Ok(progress))))
}

fn failed(error: CallError) -> Status {
    match error {
        CallError::Unreachable(problem) => Status::unavailable(problem),
        CallError::Answer(reason) => Status::internal(reason),
    }
}

/// An answer that comes in lines.
struct Lines {
    body: Incoming,
    buffer: BytesMut,
    ended: bool,
}

fn lines(body: Incoming) -> impl Stream<Item = Result<CommandProgress, Status>> {
    let lines = Lines {
        body,
        buffer: BytesMut::new(),
        ended: false,
    };
    unfold(lines, Lines::next)
}

impl Lines {
    async fn next(mut self) -> Option<(Result<CommandProgress, Status>, Self)> {
        while !self.ended {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let told = told(&line);
                self.ended = told.is_err();
                return Some((told, self));
            }
            if self.buffer.len() > LONGEST_LINE {
                self.ended = true;
                return Some((
                    Err(Status::internal("a line of progress is too long")),
                    self,
                ));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    self.ended = true;
                    let broke = format!("the model server broke off: {error}");
                    return Some((Err(Status::unavailable(broke)), self));
                }
                None => {
                    self.ended = true;
                    let rest = std::mem::take(&mut self.buffer);
                    if !rest.iter().all(u8::is_ascii_whitespace) {
                        return Some((told(&rest), self));
                    }
                }
            }
        }
        None
    }
}

/// Reads one line of progress. An error that the server words itself ends the command.
fn told(line: &[u8]) -> Result<CommandProgress, Status> {
    let line: Line = serde_json::from_slice(line)
        .map_err(|error| Status::internal(format!("progress that cannot be read: {error}")))?;
    match line.error {
        Some(error) => Err(Status::failed_precondition(error)),
        None => Ok(CommandProgress {
            status: line.status.unwrap_or_default(),
            digest: line.digest,
            total_bytes: line.total,
            completed_bytes: line.completed,
            answer: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use agent_proto::v1::{CreateModel, DeleteModel, UnloadModel};

    use super::*;

    #[test]
    fn commands_are_said_in_ollamas_words() {
        let model = || "m".to_owned();
        let delete = request(Command::Delete(DeleteModel { model: model() }));
        assert_eq!((delete.0, delete.1), (Method::DELETE, "/api/delete"));
        let unload = request(Command::Unload(UnloadModel { model: model() }));
        assert_eq!(unload.2["keep_alive"], 0);
        let create = request(Command::Create(CreateModel {
            model: model(),
            from: "base".to_owned(),
            system: None,
        }));
        assert_eq!(
            create.2,
            json!({"model": "m", "from": "base", "stream": true})
        );
    }

    #[test]
    fn progress_is_passed_on_and_an_error_ends_it() {
        let line =
            told(br#"{"status":"pulling","digest":"sha256:1","total":10,"completed":4}"#).unwrap();
        assert_eq!(
            (line.total_bytes, line.completed_bytes),
            (Some(10), Some(4))
        );
        let error = told(br#"{"error":"no space left on device"}"#).unwrap_err();
        assert_eq!(error.message(), "no space left on device");
        assert!(told(b"<html>").is_err());
    }
}
