//! Taking a release: every word and byte is looked at before any of it is run.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use agent_proto::v1::{ReleaseHead, ReleasePart};
use agent_proto::{Hashing, Manifest, Version, own_target};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::kept::Trying;
use super::{Updates, refusal};
use crate::files;

/// The longest wait for the next bytes.
const SILENCE: Duration = Duration::from_mins(1);
/// How long a program may take to say its version.
const CHECKING: Duration = Duration::from_secs(10);
/// The most that it may say.
const MOST_SAID: usize = 200;
/// The longest name of an attempt.
const MOST_ATTEMPT: usize = 80;

/// A release that is whole, and whose program starts.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What the control plane calls this attempt.
    pub(super) attempt: String,
    pub(super) manifest: Manifest,
    /// Where the program is.
    pub(super) program: PathBuf,
}

impl Taken {
    /// Returns the version.
    pub fn version(&self) -> Version {
        self.manifest.version
    }

    /// Returns where the program is.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

impl Updates {
    /// Takes a release, to be tried afterwards.
    pub(crate) async fn install(
        self: &Arc<Self>,
        mut parts: Streaming<ReleasePart>,
    ) -> Result<(), Status> {
        if self.is_on_trial() {
            return Err(Status::aborted("a version is being tried here"));
        }
        let busy = self
            .begin()
            .ok_or_else(|| Status::aborted("this agent is being updated already"))?;
        if self.taken.borrow().is_some() {
            return Err(Status::aborted("this agent is being updated already"));
        }
        let first = next(&mut parts).await?;
        let first = first.ok_or_else(|| Status::invalid_argument("no release came"))?;
        let (attempt, manifest) = self.look_at(first.head)?;
        tracing::info!(version = %manifest.version, "another version of the agent is coming");
        let known = self.change(|kept| kept.failed = None);
        known.map_err(|error| Status::internal(error.to_string()))?;
        self.tell();
        self.told
            .send_modify(|told| told.attempt = Some(attempt.clone()));

        let incoming = self.directory.join("incoming");
        let received = self.receive(&incoming, &manifest, first.data.to_vec(), &mut parts);
        let checked = match received.await {
            Ok(()) => self.put_in_place(&incoming, &manifest).await,
            Err(status) => Err(status),
        };
        if let Err(status) = checked {
            drop(fs::remove_file(&incoming).await);
            drop(fs::remove_file(self.path(manifest.version)).await);
            tracing::warn!(reason = status.message(), "the version was not taken");
            return Err(status);
        }
        let trying = Trying {
            attempt: attempt.clone(),
            version: manifest.version,
        };
        let program = self.path(manifest.version);
        if let Err(error) = self.change(|kept| kept.trying = Some(trying)) {
            drop(fs::remove_file(&program).await);
            return Err(Status::resource_exhausted(error.to_string()));
        }
        self.taken.send_replace(Some(Taken {
            attempt,
            manifest,
            program,
        }));
        drop(busy);
        Ok(())
    }

    /// Reads what a release says of itself.
    fn look_at(&self, head: Option<ReleaseHead>) -> Result<(String, Manifest), Status> {
        let head =
            head.ok_or_else(|| Status::invalid_argument("the first part names no release"))?;
        if head.attempt.is_empty() || head.attempt.len() > MOST_ATTEMPT {
            return Err(Status::invalid_argument(
                "the attempt has no name, or a long one",
            ));
        }
        let manifest: Manifest =
            head.manifest
                .parse()
                .map_err(|error: agent_proto::ReleaseError| {
                    Status::invalid_argument(error.to_string())
                })?;
        let (key, highest) = {
            let kept = self.kept.lock();
            (kept.key, kept.highest.map(|highest| highest.0))
        };
        match refusal(&manifest, key, self.own, highest, &own_target()) {
            Some(why) => Err(Status::failed_precondition(why)),
            None => Ok((head.attempt, manifest)),
        }
    }

    /// Writes the bytes that come, no more than were signed for, and compares them with what was signed.
    async fn receive(
        &self,
        incoming: &Path,
        manifest: &Manifest,
        first: Vec<u8>,
        parts: &mut Streaming<ReleasePart>,
    ) -> Result<(), Status> {
        let file = files::open_private(incoming).map_err(|error| unwritten(&error))?;
        let mut file = File::from_std(file);
        let (mut hashing, mut size) = (Hashing::default(), 0_u64);
        let mut data = first;
        loop {
            size = size.saturating_add(data.len() as u64);
            if size > manifest.size {
                return Err(Status::data_loss(
                    "the release is larger than what was signed: upload it again",
                ));
            }
            hashing.update(&data);
            file.write_all(&data)
                .await
                .map_err(|error| unwritten(&error))?;
            match next(parts).await? {
                Some(part) => data = part.data.to_vec(),
                None => break,
            }
        }
        if size < manifest.size {
            return Err(Status::unavailable(format!(
                "the release broke off after {size} of {} bytes",
                manifest.size
            )));
        }
        if hashing.finish() != manifest.sha256 {
            return Err(Status::data_loss(
                "the release is not what was signed: its bytes differ, so upload it again",
            ));
        }
        file.sync_all().await.map_err(|error| unwritten(&error))
    }

    /// Gives a program that is what was signed its name, and sees whether it starts.
    async fn put_in_place(&self, incoming: &Path, manifest: &Manifest) -> Result<(), Status> {
        let program = self.path(manifest.version);
        let placed = async {
            let owners = std::fs::Permissions::from_mode(0o700);
            fs::set_permissions(incoming, owners).await?;
            fs::rename(incoming, &program).await?;
            files::sync_directory(&self.directory)
        };
        placed.await.map_err(|error: io::Error| unwritten(&error))?;
        self_check(&program, manifest.version)
            .await
            .map_err(Status::failed_precondition)
    }
}

async fn next(parts: &mut Streaming<ReleasePart>) -> Result<Option<ReleasePart>, Status> {
    let silent = |_| Status::unavailable(format!("nothing came for {} s", SILENCE.as_secs()));
    timeout(SILENCE, parts.message()).await.map_err(silent)?
}

fn unwritten(error: &io::Error) -> Status {
    Status::resource_exhausted(format!(
        "the agent cannot keep the release in its data directory: {error}"
    ))
}

/// Has a program say its version.
pub(super) async fn self_check(program: &Path, version: Version) -> Result<(), String> {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let said = timeout(CHECKING, command.output()).await;
    let said = said.map_err(|_| {
        format!(
            "the program does not start: it said no version within {} s",
            CHECKING.as_secs()
        )
    })?;
    let said = said.map_err(|error| format!("the program does not start: {error}"))?;
    let text = String::from_utf8_lossy(&said.stdout);
    if said.status.success() && text.trim_end() == format!("remuda {version}") {
        return Ok(());
    }
    let text = format!("{text}{}", String::from_utf8_lossy(&said.stderr));
    let text: String = text.trim().chars().take(MOST_SAID).collect();
    Err(format!(
        "the program does not say that it is remuda {version}: {}, {text:?}",
        said.status
    ))
}
