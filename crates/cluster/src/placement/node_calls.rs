//! What a node is told to do with a model, over the same way as its probes: directly, or through its agent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use primitives::Classify as _;
use scheduling::placement::{Action, ActionKind};
use serde::Deserialize;
use serde_json::{Value, json};
use web::outbound::{Answer, OutboundError};

use crate::model::ModelView;
use crate::probe::contact::Contact;

/// The most bytes of one line of progress.
const LONGEST_LINE: usize = 1 << 20;
/// The most bytes of an error that are read.
const LONGEST_ERROR: usize = 16 << 10;
/// The most characters of an error that are kept.
const KEPT: usize = 500;
/// The most parts of a model whose progress is added up.
const PARTS: usize = 1_000;
/// How long a node may be silent while it fetches: it checks what it has fetched without a word.
const SILENCE: Duration = Duration::from_mins(10);
/// How long a node may take to load a model, or to take it from memory.
const LOADING: Duration = Duration::from_mins(15);
/// How long a node may take to delete files.
const DELETING: Duration = Duration::from_mins(2);

/// How far a fetch has come, in bytes.
#[derive(Debug, Default)]
pub(super) struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    pub(super) fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> (u64, u64) {
        (
            self.done.load(Ordering::Relaxed),
            self.total.load(Ordering::Relaxed),
        )
    }
}

/// Tells a node to do what an action says, and waits until it has.
///
/// # Errors
/// Why it has not, for people.
pub(super) async fn carry_out(
    contact: &Contact,
    action: &Action,
    known: Option<&ModelView>,
    progress: &Progress,
) -> Result<(), String> {
    let model = &*action.model;
    match action.kind {
        ActionKind::Pull | ActionKind::Copy => pull(contact, model, progress).await,
        ActionKind::Delete => {
            let answer = send(
                contact,
                Method::DELETE,
                "/api/delete",
                &json!({"model": model}),
                DELETING,
            )
            .await?;
            match answer.status() {
                // Deleted already: as it should be.
                StatusCode::NOT_FOUND => Ok(()),
                _ => accepted(answer).await.map(drop),
            }
        }
        ActionKind::Load | ActionKind::Unload => {
            let keep = if action.kind == ActionKind::Load {
                -1
            } else {
                0
            };
            let only_embeds = known.is_some_and(ModelView::is_embedding_only);
            let (path, mut body) = if only_embeds {
                ("/api/embed", json!({"model": model, "input": []}))
            } else {
                ("/api/generate", json!({"model": model, "stream": false}))
            };
            body["keep_alive"] = json!(keep);
            if let (Some(context), ActionKind::Load) = (action.context, action.kind) {
                body["options"] = json!({"num_ctx": context});
            }
            let answer = send(contact, Method::POST, path, &body, LOADING).await?;
            accepted(answer).await.map(drop)
        }
    }
}

async fn send(
    contact: &Contact,
    method: Method,
    path: &str,
    body: &Value,
    limit: Duration,
) -> Result<Answer, String> {
    let call = contact.client.call(method, &contact.url.join(path));
    let call = call
        .json(body)
        .head_timeout(limit)
        .idle_timeout(SILENCE)
        .total_timeout(None);
    let call = match &contact.credential {
        Some(credential) => call.bearer(credential),
        None => call,
    };
    call.send().await.map_err(|error| told(&error))
}

/// Returns the answer unless it tells of an error.
async fn accepted(answer: Answer) -> Result<Answer, String> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let text = answer.bytes(LONGEST_ERROR).await.unwrap_or_default();
    let said = serde_json::from_slice::<Line>(&text)
        .ok()
        .and_then(|line| line.error)
        .unwrap_or_else(|| String::from_utf8_lossy(&text).into_owned());
    Err(shortened(&format!("the node answers {status}: {said}")))
}

fn told(error: &OutboundError) -> String {
    shortened(&error.public_message())
}

pub(super) fn shortened(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(KEPT)
        .collect()
}

/// One line of a node's progress.
#[derive(Debug, Default, Deserialize)]
struct Line {
    #[serde(default)]
    status: String,
    digest: Option<String>,
    total: Option<u64>,
    completed: Option<u64>,
    error: Option<String>,
}

async fn pull(contact: &Contact, model: &str, progress: &Progress) -> Result<(), String> {
    let body = json!({"model": model, "stream": true});
    let answer = send(contact, Method::POST, "/api/pull", &body, SILENCE).await?;
    let mut answer = accepted(answer).await?;
    let mut parts = Parts::default();
    let mut buffer = Vec::new();
    loop {
        let chunk = match answer.chunk().await {
            Ok(chunk) => chunk,
            Err(error) => return Err(broken(&told(&error), progress)),
        };
        let has_ended = chunk.is_none();
        buffer.extend_from_slice(&chunk.unwrap_or_default());
        if has_ended && !buffer.is_empty() {
            buffer.push(b'\n');
        }
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let Ok(line) = serde_json::from_slice::<Line>(&line) else {
                continue;
            };
            if let Some(error) = line.error {
                return Err(broken(&shortened(&error), progress));
            }
            if line.status == "success" {
                return Ok(());
            }
            if let Some(digest) = line.digest {
                let (done, total) = (line.completed.unwrap_or(0), line.total.unwrap_or(0));
                parts.note(digest, done, total);
            }
            let (done, total) = parts.sums();
            progress.set(done, total);
        }
        if has_ended {
            return Err(broken(
                "the node ended its answer before it was done",
                progress,
            ));
        }
        if buffer.len() > LONGEST_LINE {
            return Err("the node's progress cannot be read".to_owned());
        }
    }
}

/// Says how far a fetch has come that broke off.
pub(super) fn broken(why: &str, progress: &Progress) -> String {
    match progress.read() {
        (_, 0) => why.to_owned(),
        (done, total) => {
            format!("{why}, at {done} of {total} bytes: the next try goes on from there")
        }
    }
}

/// The parts of a model that are on their way.
#[derive(Debug, Default)]
pub(super) struct Parts(Vec<(String, u64, u64)>);

impl Parts {
    pub(super) fn note(&mut self, digest: String, done: u64, total: u64) {
        let known = self.0.iter_mut().find(|(other, ..)| *other == digest);
        if let Some(part) = known {
            part.1 = part.1.max(done);
            part.2 = part.2.max(total);
        } else if self.0.len() < PARTS {
            self.0.push((digest, done, total));
        }
    }

    pub(super) fn sums(&self) -> (u64, u64) {
        let sum = |read: fn(&(String, u64, u64)) -> u64| {
            self.0.iter().map(read).fold(0, u64::saturating_add)
        };
        (sum(|part| part.1), sum(|part| part.2))
    }
}
