//! A link to each control plane of the installation.

use std::sync::Arc;

use agent_proto::v1::NodeStatus;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::{AgentConfig, ControlPlane};
use crate::copying::Copying;
use crate::link::{Link, LinkState};
use crate::membership::Kept;
use crate::service::FarEnd;
use crate::tunnels::Tunnels;

/// What the links are made of.
pub(crate) struct Links {
    pub(crate) config: Arc<AgentConfig>,
    pub(crate) kept: Arc<Kept>,
    pub(crate) status: watch::Receiver<Arc<NodeStatus>>,
    pub(crate) tunnels: Arc<Tunnels>,
    pub(crate) files: Option<Arc<Copying>>,
    pub(crate) state: Arc<LinkState>,
    pub(crate) told: Arc<watch::Sender<Vec<ControlPlane>>>,
}

/// A link that is kept up.
struct Held {
    address: ControlPlane,
    task: Id,
    /// It ends with its present connection.
    unwanted: CancellationToken,
}

impl Links {
    /// Keeps a link to each control plane up until `stop` is cancelled. Those that are no longer told of are dialled no more; a link
    /// that is up stays.
    pub(crate) async fn keep_up(self, stop: CancellationToken) {
        let mut told = self.told.subscribe();
        let mut running = JoinSet::new();
        let mut held: Vec<Held> = Vec::new();
        loop {
            let wanted = self.kept.latest().control_planes();
            for link in &held {
                if !wanted.contains(&link.address) {
                    link.unwanted.cancel();
                }
            }
            for address in wanted {
                if held.iter().all(|link| link.address != address) {
                    let unwanted = CancellationToken::new();
                    let link = self.link(address.clone());
                    let task = running
                        .spawn(link.keep_up(unwanted.clone(), stop.clone()))
                        .id();
                    held.push(Held {
                        address,
                        task,
                        unwanted,
                    });
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                Ok(()) = told.changed() => {
                    let others = told.borrow_and_update().clone();
                    let kept = self.kept.change(|membership| membership.others = others);
                    if let Err(error) = kept {
                        tracing::warn!(%error, "where control planes listen cannot be kept");
                    }
                }
                Some(ended) = running.join_next_with_id() => {
                    let task = ended.map_or_else(|panicked| panicked.id(), |(task, ())| task);
                    held.retain(|link| link.task != task);
                }
            }
        }
        while running.join_next().await.is_some() {}
    }

    fn link(&self, address: ControlPlane) -> Link {
        Link {
            config: Arc::clone(&self.config),
            kept: Arc::clone(&self.kept),
            status: self.status.clone(),
            tunnels: Arc::clone(&self.tunnels),
            files: self.files.clone(),
            far_end: FarEnd {
                address,
                state: Arc::clone(&self.state),
                told: Arc::clone(&self.told),
            },
        }
    }
}
