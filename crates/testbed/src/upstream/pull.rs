//! Pulling a model: any name but those that contain `missing`, with progress as Ollama tells it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::body::sleep_for;
use super::catalogue::{named, progress};
use super::models::{ScriptedModel, normalise};
use super::registry_pull::Pull;
use super::service::{Call, Node, Reply, response};

/// The size of every pulled model.
const TOTAL: u64 = 4_096;
/// What is there before the gate.
const ALMOST: u64 = 4_055;

/// Lines that are sent as they come.
struct Lines(mpsc::Receiver<Value>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|line| {
            let line = line?;
            Some(Ok(Frame::data(Bytes::from(format!("{line}\n")))))
        })
    }
}

/// Answers a pull, in one piece where streaming is off.
pub(super) async fn pull(node: &Arc<Node>, call: &Call) -> Reply {
    let name = named(call);
    if let Some(files) = &node.files {
        let (lines, body) = mpsc::channel(1);
        let pull = Pull {
            node: Arc::clone(node),
            files: files.clone(),
            name,
            insecure: call.json()["insecure"] == true,
            lines,
        };
        tokio::spawn(pull.run());
        return response(200, "application/x-ndjson", UnsyncBoxBody::new(Lines(body)));
    }
    let manifest = json!({"status": "pulling manifest"});
    if name.is_empty() || name.contains("missing") {
        let error = json!({"error": "pull model manifest: file does not exist"});
        return progress(call, &[manifest, error]);
    }
    let delay = node.script.lock().load_delay;
    sleep_for(delay).await;
    if call.json()["stream"] == false {
        keep(node, &name);
        return progress(call, &[json!({"status": "success"})]);
    }
    let (lines, body) = mpsc::channel(1);
    let node = Arc::clone(node);
    tokio::spawn(async move { play(&node, &name, lines).await });
    response(200, "application/x-ndjson", UnsyncBoxBody::new(Lines(body)))
}

/// Sends the lines; stops where nobody reads them any more.
async fn play(node: &Node, name: &str, lines: mpsc::Sender<Value>) -> Option<()> {
    let digest = ScriptedModel::chat(&normalise(name)).digest;
    let status = format!("pulling {}", digest.get(..12).unwrap_or_default());
    let part = |completed: u64| json!({"status": status, "digest": format!("sha256:{digest}"), "total": TOTAL, "completed": completed});
    lines
        .send(json!({"status": "pulling manifest"}))
        .await
        .ok()?;
    let first = json!({"status": status, "digest": format!("sha256:{digest}"), "total": TOTAL});
    lines.send(first).await.ok()?;
    for completed in [1_024, 2_048, ALMOST] {
        lines.send(part(completed)).await.ok()?;
    }
    let (gate, breaks) = {
        let mut script = node.script.lock();
        let breaks = script.broken_pulls > 0;
        script.broken_pulls = script.broken_pulls.saturating_sub(1);
        (script.pull_gate.clone(), breaks)
    };
    if breaks {
        return None;
    }
    if let Some(gate) = gate {
        tokio::select! {
            () = gate.pass() => {}
            () = lines.closed() => return None,
        }
    }
    lines.send(part(TOTAL)).await.ok()?;
    for status in ["verifying sha256 digest", "writing manifest"] {
        lines.send(json!({"status": status})).await.ok()?;
    }
    keep(node, name);
    lines.send(json!({"status": "success"})).await.ok()
}

/// Has the model, in place of other files of its name.
fn keep(node: &Node, name: &str) {
    let fresh = ScriptedModel::chat(&normalise(name));
    let mut models = node.models.lock();
    let present = models
        .iter_mut()
        .find(|model| normalise(&model.name) == fresh.name);
    match present {
        Some(model) => model.digest = fresh.digest,
        None => models.push(fresh),
    }
}
