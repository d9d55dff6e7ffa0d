//! Pulling as Ollama does it: the manifest, then each blob in parts by ranges, which a later pull goes on with; the digests are compared, and only
//! then the model has its name.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, RANGE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::body::sleep_for;
use super::files::{ModelFiles, PUBLIC, blobs_in, parts_of, sha256};
use super::models::{ScriptedModel, normalise};
use super::service::Node;

/// Parts of a blob, and the least size of one: Ollama's are of 100 MB and more.
const PARTS: u64 = 4;
const LEAST: u64 = 16 << 10;
/// How often a part is tried, and the wait before the next try: Ollama's grows from 1 s.
const TRIES: u32 = 6;
const WAIT: Duration = Duration::from_millis(20);

/// Why a pull stops.
enum Stop {
    /// Nobody reads any more.
    Gone,
    /// What the client is told.
    Error(String),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(format!("{error:#}"))
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Error(error.to_string())
    }
}

/// A part of a blob, as Ollama notes it beside the blob.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    n: usize,
    offset: u64,
    size: u64,
    completed: u64,
}

pub(super) struct Pull {
    pub(super) node: Arc<Node>,
    pub(super) files: ModelFiles,
    pub(super) name: String,
    pub(super) insecure: bool,
    pub(super) lines: mpsc::Sender<Value>,
}

impl Pull {
    /// Pulls, and says how it goes.
    pub(super) async fn run(self) {
        // One after the other, so that the next goes on with all that the one before has noted.
        let _turn = self.node.puller.lock().await;
        if let Err(Stop::Error(error)) = self.pull().await {
            // Whoever is gone needs no reason.
            drop(self.lines.send(json!({"error": error})).await);
        }
    }

    async fn tell(&self, line: Value) -> Result<(), Stop> {
        self.lines.send(line).await.map_err(|_| Stop::Gone)
    }

    async fn pull(&self) -> Result<(), Stop> {
        self.tell(json!({"status": "pulling manifest"})).await?;
        let name = normalise_tag(&self.name);
        let [host, namespace, model, tag] = parts_of(&name);
        let public = self.node.script.lock().registry;
        let address = if host == PUBLIC {
            let unknown = || {
                Stop::Error(format!(
                    "pull model manifest: lookup {PUBLIC}: no such host"
                ))
            };
            public
                .map(|address| address.to_string())
                .ok_or_else(unknown)?
        } else if self.insecure {
            host.to_owned()
        } else {
            return Err(Stop::Error("insecure protocol http".to_owned()));
        };
        let path = format!("/v2/{namespace}/{model}/manifests/{tag}");
        let answer = ask(&address, Method::GET, &path, None).await;
        let answer =
            answer.map_err(|error| Stop::Error(format!("pull model manifest: {error:#}")))?;
        if answer.status() != StatusCode::OK {
            return Err(Stop::Error(
                "pull model manifest: file does not exist".to_owned(),
            ));
        }
        let manifest = answer.into_body().collect().await;
        let manifest = manifest.context("the manifest")?.to_bytes();
        let mut fresh = Vec::new();
        for (hex, size) in blobs_in(&manifest)? {
            let blobs = format!("/v2/{namespace}/{model}/blobs/sha256:{hex}");
            if self.blob(&address, &blobs, &hex, size).await? {
                fresh.push(hex);
            }
        }
        self.tell(json!({"status": "verifying sha256 digest"}))
            .await?;
        for hex in fresh {
            let path = self.files.blob(&hex);
            let got = sha256(&fs::read(&path)?);
            if got != hex {
                fs::remove_file(path)?;
                return Err(Stop::Error(format!(
                    "digest mismatch, file must be downloaded again: want sha256:{hex}, got sha256:{got}"
                )));
            }
        }
        self.tell(json!({"status": "writing manifest"})).await?;
        let (digest, size) = self.files.add_manifest(&name, &manifest)?;
        keep(&self.node, &name, &digest, size);
        self.tell(json!({"status": "success"})).await
    }

    /// Has a blob. Returns whether it was fetched.
    async fn blob(&self, address: &str, path: &str, hex: &str, size: u64) -> Result<bool, Stop> {
        let there = self.files.blob(hex);
        if there.exists() {
            self.progress(hex, size, size).await?;
            return Ok(false);
        }
        let partial = there.with_file_name(format!("sha256-{hex}-partial"));
        let mut parts = read_parts(&partial);
        if parts.is_empty() {
            let head = ask(address, Method::HEAD, path, None).await?;
            let length = head.headers().get(CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
            parts = cut(length.context("a blob without a length")?);
            for part in &parts {
                note_part(&partial, part)?;
            }
        }
        let total: u64 = parts.iter().map(|part| part.size).sum();
        // To see whether the registry leads elsewhere; nothing of it is read.
        let whole = ask(address, Method::GET, path, None).await?;
        if whole.status() != StatusCode::OK {
            return Err(Stop::Error(format!(
                "unexpected status code {}",
                whole.status()
            )));
        }
        drop(whole);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&partial)?;
        file.set_len(total)?;
        for at in 0..parts.len() {
            let is_last = at + 1 == parts.len();
            let gate = self.node.script.lock().pull_gate.clone();
            if let Some(gate) = gate.filter(|_| is_last) {
                tokio::select! {
                    () = gate.pass() => {}
                    () = self.lines.closed() => return Err(Stop::Gone),
                }
            }
            let mut tries = 0;
            while parts[at].completed < parts[at].size {
                let before: u64 = parts.iter().map(|part| part.completed).sum();
                let got = self
                    .part(address, path, hex, &file, &mut parts[at], (before, total))
                    .await;
                note_part(&partial, &parts[at])?;
                match got {
                    Ok(()) => {}
                    Err(Stop::Error(error)) if error.contains("no space left") => {
                        return Err(Stop::Error(error));
                    }
                    Err(Stop::Error(error)) => {
                        tries += 1;
                        if tries >= TRIES {
                            return Err(Stop::Error(format!("max retries exceeded: {error}")));
                        }
                        sleep_for(WAIT).await;
                    }
                    Err(Stop::Gone) => return Err(Stop::Gone),
                }
            }
        }
        drop(file);
        for part in &parts {
            fs::remove_file(noted(&partial, part.n))?;
        }
        fs::rename(partial, there)?;
        Ok(true)
    }

    /// Fetches what is missing of a part, and counts what came also when it breaks off.
    async fn part(
        &self,
        address: &str,
        path: &str,
        hex: &str,
        file: &File,
        part: &mut Part,
        (mut done, total): (u64, u64),
    ) -> Result<(), Stop> {
        let (start, end) = (part.offset + part.completed, part.offset + part.size);
        let answer = ask(address, Method::GET, path, Some((start, end))).await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Err(Stop::Error(format!(
                "unexpected status code {}",
                answer.status()
            )));
        }
        let mut body = answer.into_body();
        while part.completed < part.size {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = self.lines.closed() => return Err(Stop::Gone),
            };
            let Some(Ok(frame)) = frame else {
                return Err(Stop::Error("unexpected EOF".to_owned()));
            };
            let data = frame.into_data().unwrap_or_default();
            self.take_room(data.len() as u64, hex)?;
            file.write_all_at(&data, part.offset + part.completed)?;
            part.completed += data.len() as u64;
            done += data.len() as u64;
            self.progress(hex, done, total).await?;
        }
        Ok(())
    }

    /// Takes room on the disk.
    fn take_room(&self, bytes: u64, hex: &str) -> Result<(), Stop> {
        let mut script = self.node.script.lock();
        let Some(room) = script.disk_room else {
            return Ok(());
        };
        let left = room.checked_sub(bytes).ok_or_else(|| {
            Stop::Error(format!(
                "write {}-partial: no space left on device",
                self.files.blob(hex).display()
            ))
        })?;
        script.disk_room = Some(left);
        Ok(())
    }

    async fn progress(&self, hex: &str, done: u64, total: u64) -> Result<(), Stop> {
        let short = hex.get(..12).unwrap_or_default();
        let line = json!({
            "status": format!("pulling {short}"), "digest": format!("sha256:{hex}"), "total": total, "completed": done,
        });
        self.tell(line).await
    }
}

/// Has the model, in place of other files of its name.
fn keep(node: &Node, name: &str, digest: &str, size: u64) {
    let fresh = ScriptedModel {
        digest: digest.to_owned(),
        size_bytes: size,
        ..ScriptedModel::chat(name)
    };
    let mut models = node.models.lock();
    models.retain(|model| normalise(&model.name) != normalise(name));
    models.push(fresh);
}

fn normalise_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or_default();
    if last.contains(':') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

fn cut(total: u64) -> Vec<Part> {
    let size = (total / PARTS).max(LEAST);
    let (mut parts, mut offset) = (Vec::new(), 0);
    while offset < total {
        let size = size.min(total - offset);
        parts.push(Part {
            n: parts.len(),
            offset,
            size,
            completed: 0,
        });
        offset += size;
    }
    parts
}

fn noted(partial: &Path, n: usize) -> std::path::PathBuf {
    let mut name = partial.as_os_str().to_owned();
    name.push(format!("-{n}"));
    name.into()
}

fn note_part(partial: &Path, part: &Part) -> Result<(), Stop> {
    let text = serde_json::to_vec(part).context("a part")?;
    Ok(fs::write(noted(partial, part.n), text)?)
}

fn read_parts(partial: &Path) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Ok(text) = fs::read(noted(partial, parts.len())) {
        let Ok(part) = serde_json::from_slice(&text) else {
            break;
        };
        parts.push(part);
    }
    parts
}

async fn ask(
    address: &str,
    method: Method,
    path: &str,
    range: Option<(u64, u64)>,
) -> anyhow::Result<Response<Incoming>> {
    let socket = TcpStream::connect(address)
        .await
        .with_context(|| format!("dial tcp {address}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    // Ends with the answer's body.
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address);
    if let Some((start, end)) = range {
        request = request.header(RANGE, format!("bytes={start}-{}", end.saturating_sub(1)));
    }
    Ok(sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?)
}
