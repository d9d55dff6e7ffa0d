//! Fetches a model from another node: the model server here pulls it from a registry that the agent opens for it, whose files come from that
//! node. The server goes on where an earlier try stopped and checks what it got; the agent gives the model its name when all is right.

mod fetching;
mod front;
mod pace;
mod source;

use std::sync::Arc;
use std::time::Duration;

use agent_proto::is_copy_name;
use agent_proto::v1::{CopyEnd, CopyProgress, CopyRequest};
use primitives::Clock;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tonic::Status;

use self::front::Front;
use self::pace::Pace;
use self::source::{NothingThere, Source};
use crate::config::AgentConfig;
use crate::membership::Kept;
use crate::model_server::{ModelServer, PullLine};
use crate::sharing::{ModelName, Sharing, is_hex};

/// What is told of a copy and not read yet.
const WAITING: usize = 8;
/// How long a copy that was called off may take to end before the next one begins.
const ENDING: Duration = Duration::from_secs(10);
/// How servers say that the disk is full: on Unix, and on Windows.
const DISK_FULL: [&str; 2] = ["no space left on device", "not enough space on the disk"];

/// What copies are made with.
pub(crate) struct Copying {
    server: ModelServer,
    sharing: Arc<Sharing>,
    kept: Arc<Kept>,
    clock: Arc<dyn Clock>,
    /// One copy at a time.
    place: Arc<Semaphore>,
}

/// Why a copy did not work.
struct Broken {
    why: String,
    hopeless: bool,
}

impl Broken {
    fn elsewhere(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            hopeless: false,
        }
    }

    /// What the model server says: a full disk stays full, wherever the files come from.
    fn said(why: String) -> Self {
        let lower = why.to_lowercase();
        Self {
            hopeless: DISK_FULL.iter().any(|full| lower.contains(full)),
            why,
        }
    }
}

impl Copying {
    pub(crate) fn new(config: &AgentConfig, sharing: Arc<Sharing>, kept: Arc<Kept>) -> Self {
        Self {
            server: ModelServer::new(config),
            sharing,
            kept,
            clock: Arc::clone(&config.clock),
            place: Arc::new(Semaphore::new(1)),
        }
    }

    /// Returns what is shared.
    pub(crate) fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// Begins a copy. It is called off when nobody reads any more how far it is.
    pub(crate) async fn start(
        self: &Arc<Self>,
        request: CopyRequest,
    ) -> Result<mpsc::Receiver<CopyProgress>, Status> {
        let busy = || Status::resource_exhausted("the agent fetches another model at the moment");
        let place = timeout(ENDING, Arc::clone(&self.place).acquire_owned());
        let place = place.await.map_err(|_| busy())?.map_err(|_| busy())?;
        let (tell, told) = mpsc::channel(WAITING);
        let copying = Arc::clone(self);
        tokio::spawn(async move {
            let copied = tokio::select! {
                copied = copying.copy(&request, &tell) => Some(copied),
                () = tell.closed() => None,
            };
            // Whatever happened, no name of ours stays.
            let swept = copying.sweep().await;
            let end = match (copied, swept) {
                (None, _) => return,
                (Some(Ok(())), Ok(())) => CopyEnd::default(),
                (Some(Ok(())), Err(why)) => {
                    tracing::warn!(why, "a name of a copy stays until the next one");
                    CopyEnd::default()
                }
                (Some(Err(broken)), _) => CopyEnd {
                    error: Some(broken.why),
                    hopeless: broken.hopeless,
                },
            };
            drop(place);
            let end = CopyProgress {
                end: Some(end),
                ..CopyProgress::default()
            };
            // Whoever has gone meanwhile asks again.
            drop(tell.send(end).await);
        });
        Ok(told)
    }

    async fn copy(
        &self,
        request: &CopyRequest,
        tell: &mpsc::Sender<CopyProgress>,
    ) -> Result<(), Broken> {
        let CopyRequest { model, digest, .. } = request;
        let there = ModelName::parse(&request.source_model)
            .filter(|_| is_hex(digest) && ModelName::parse(model).is_some())
            .ok_or_else(|| Broken::elsewhere("the agent does not understand what to copy"))?;
        let source = Source::new(
            &request.source_node_id,
            &request.addresses,
            &there,
            Arc::clone(&self.kept),
            Arc::clone(&self.clock),
        );
        let manifest = source.manifest(digest).await.map_err(|nothing| {
            Broken::elsewhere(match nothing {
                NothingThere::Refused(why) | NothingThere::Broken(why) => why,
                NothingThere::Busy => "it sends as many files as it can".to_owned(),
            })
        })?;
        self.sweep().await.map_err(Broken::elsewhere)?;
        let pace = Pace::new(request.bytes_per_second);
        let front = Front::open(source, manifest, Arc::clone(&self.sharing), pace)
            .await
            .map_err(|error| {
                Broken::elsewhere(format!("the agent cannot listen on 127.0.0.1: {error}"))
            })?;
        let name = front.name();
        let pulled = tokio::select! {
            pulled = self.pull(&name, tell) => pulled,
            why = front.broken() => Err(Broken::elsewhere(why)),
        };
        if let Err(said) = pulled {
            return Err(front.why_broken().map_or(said, Broken::elsewhere));
        }
        self.give_name(&front, model, digest)
            .await
            .map_err(Broken::said)
    }

    async fn pull(&self, name: &str, tell: &mpsc::Sender<CopyProgress>) -> Result<(), Broken> {
        let mut lines = self.server.pull(name).await.map_err(Broken::said)?;
        loop {
            match lines.next().await.map_err(Broken::said)? {
                PullLine::Done => return Ok(()),
                PullLine::Error(why) => return Err(Broken::said(why)),
                PullLine::Part {
                    digest,
                    total_bytes,
                    done_bytes,
                } => {
                    let progress = CopyProgress {
                        digest,
                        total_bytes,
                        done_bytes,
                        end: None,
                    };
                    // Where nobody listens the copy is called off elsewhere.
                    drop(tell.send(progress).await);
                }
            }
        }
    }

    /// Gives a model that was fetched its name, if it is what was wanted.
    async fn give_name(&self, front: &Front, model: &str, digest: &str) -> Result<(), String> {
        let name = front.name();
        let present = self.server.digests().await?;
        let got = present.iter().find(|(other, _)| *other == name);
        let Some((_, got)) = got else {
            return Err("the model server does not list what it has pulled".to_owned());
        };
        if got.as_deref() != Some(digest) {
            return Err(format!(
                "the model server has other files than were wanted: {} instead of {digest}",
                got.as_deref().unwrap_or("unknown ones")
            ));
        }
        let wanted = ModelName::parse(&model.to_lowercase());
        let before = present
            .iter()
            .find(|(other, _)| ModelName::parse(&other.to_lowercase()) == wanted);
        match before {
            Some((_, before)) if before.as_deref() == Some(digest) => return Ok(()),
            // Its files go with the name that they get now: what is written over leaves them lying about.
            Some((before, _)) => self.server.copy(before, &front.other_name()).await?,
            None => {}
        }
        self.server.copy(&name, model).await
    }

    /// Deletes names of copies that have ended.
    async fn sweep(&self) -> Result<(), String> {
        for (name, _) in self.server.digests().await? {
            if is_copy_name(&name) {
                self.server.delete(&name).await?;
            }
        }
        Ok(())
    }
}
