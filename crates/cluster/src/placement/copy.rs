//! Fetching a model from another node instead of from where models come from.
//!
//! The control plane has the node that has the files offer them to the one that wants them, and has that one's agent fetch them: the bytes go
//! from node to node. Where that does not work the model is pulled, which goes on with what is there.

use std::sync::Arc;
use std::time::Duration;

use agent_proto::v1::{CopyRequest, OfferRequest};
use identity::journal::{self, Actor, Change};
use primitives::NodeId;
use scheduling::placement::{Action, FleetView};
use serde_json::json;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::action::Stored;
use super::metrics::Copied;
use super::node_calls::{Parts, Progress, broken, shortened};
use super::{Placement, store};
use crate::agents::AgentLink;

/// The most nodes that a model is fetched from, one after the other.
const MOST_SOURCES: usize = 3;
/// How long a node may fetch what it is offered.
const OFFERED_FOR: Duration = Duration::from_hours(12);
/// How long an agent may be silent: its server checks what it has fetched without a word.
const SILENCE: Duration = Duration::from_mins(11);

/// A node that has the files.
struct Source {
    id: NodeId,
    name: Arc<str>,
    /// What the model is called there.
    model: Arc<str>,
    link: Arc<AgentLink>,
    addresses: Vec<String>,
}

/// Why a copy from one node did not work.
struct Missed {
    why: String,
    /// Nothing else would work either.
    hopeless: bool,
}

impl From<Status> for Missed {
    fn from(status: Status) -> Self {
        let why = match status.code() {
            Code::Unimplemented => "its agent is too old for that".to_owned(),
            Code::Unknown | Code::Cancelled | Code::Unavailable => agent_proto::deepest(&status),
            _ => status.message().to_owned(),
        };
        Self {
            why: shortened(&why),
            hopeless: false,
        }
    }
}

/// Says why the agent of the node that fetches did not. Without its link nothing reaches the node.
fn of_here(status: Status) -> Missed {
    let is_lost = matches!(
        status.code(),
        Code::Unknown | Code::Cancelled | Code::Unavailable
    );
    Missed {
        hopeless: is_lost,
        ..Missed::from(status)
    }
}

impl Placement {
    /// Has a node fetch a model from others that have it, and where that does not work has it `pulled`.
    ///
    /// # Errors
    /// Why the node has it not, for people.
    pub(super) async fn copy(
        &self,
        stored: &Stored,
        term: u64,
        view: &FleetView,
        progress: &Progress,
        pulled: impl AsyncFnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        let (action, figures) = (&stored.action, &self.inner.figures);
        let why = match self.copy_from_any(action, view, progress).await {
            Ok(()) => {
                figures.copied(Copied::Done, progress.read().0);
                return Ok(());
            }
            Err(missed) if missed.hopeless => {
                figures.copied(Copied::Failed, progress.read().0);
                return Err(broken(&missed.why, progress));
            }
            Err(missed) => missed.why,
        };
        figures.copied(Copied::FellBack, progress.read().0);
        tracing::warn!(
            action = %stored.id,
            model = &*action.model,
            node = &*action.node_name,
            why,
            "a model is pulled, as it cannot be copied"
        );
        if let Err(error) = self.note_fall_back(stored, term, &why).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "that a model is pulled in place of copied is not stored"
            );
        }
        pulled()
            .await
            .map_err(|error| format!("{error}; copying it did not work before: {why}"))
    }

    /// Tries one node after the other.
    async fn copy_from_any(
        &self,
        action: &Action,
        view: &FleetView,
        progress: &Progress,
    ) -> Result<(), Missed> {
        let missed = |why: &str| Missed {
            why: why.to_owned(),
            hopeless: false,
        };
        let planned = action.from.and_then(|from| view.find_node(from));
        let digest = planned
            .and_then(|node| node.find_copy(&action.key))
            .and_then(|copy| copy.digest.clone())
            .ok_or_else(|| missed("the node that it was to come from does not have it any more"))?;
        let here = self
            .link(action.node)
            .ok_or_else(|| missed("the agent of the node is not linked to this process"))?;
        let sources = self.sources(action, view, &digest);
        let mut last = missed("no node that has it shares its files at the moment");
        for source in sources {
            match self
                .copy_from(&source, action, &digest, &here, progress)
                .await
            {
                Ok(()) => return Ok(()),
                Err(missed) => {
                    last = Missed {
                        why: format!("from {}: {}", source.name, missed.why),
                        hopeless: missed.hopeless,
                    };
                    if last.hopeless {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    /// Lists the nodes that have the files, the one that was planned first.
    fn sources(&self, action: &Action, view: &FleetView, digest: &str) -> Vec<Source> {
        let mut nodes: Vec<_> = view
            .nodes
            .iter()
            .filter(|node| node.shares_files && view.is_usable(node) && node.id != action.node)
            .filter_map(|node| Some((node, node.find_copy(&action.key)?)))
            .filter(|(_, copy)| copy.digest.as_deref() == Some(digest))
            .collect();
        nodes.sort_by_key(|(node, _)| Some(node.id) != action.from);
        let sources = nodes.into_iter().filter_map(|(node, copy)| {
            let link = self.link(node.id)?;
            let addresses = link.status()?.sharing.clone()?.addresses;
            Some(Source {
                id: node.id,
                name: Arc::clone(&node.name),
                model: Arc::clone(&copy.name),
                link,
                addresses,
            })
        });
        sources.take(MOST_SOURCES).collect()
    }

    fn link(&self, node: NodeId) -> Option<Arc<AgentLink>> {
        let snapshot = self.registry().snapshot();
        snapshot.find_node(node)?.agent.as_ref()?.link()
    }

    async fn copy_from(
        &self,
        source: &Source,
        action: &Action,
        digest: &str,
        here: &AgentLink,
        progress: &Progress,
    ) -> Result<(), Missed> {
        let offer = OfferRequest {
            node_id: action.node.to_string(),
            model: source.model.to_string(),
            seconds: u32::try_from(OFFERED_FOR.as_secs()).unwrap_or(u32::MAX),
        };
        let offered = source.link.offer_model(offer).await?;
        if offered.digest != digest {
            return Err(Missed {
                why: "its files are others by now".to_owned(),
                hopeless: false,
            });
        }
        progress.set(0, offered.bytes);
        let request = CopyRequest {
            model: action.model.to_string(),
            source_node_id: source.id.to_string(),
            source_model: source.model.to_string(),
            addresses: source.addresses.clone(),
            digest: digest.to_owned(),
            bytes_per_second: self.inner.config.copy_bytes_per_second,
        };
        let mut told = here.copy_model(request).await.map_err(of_here)?;
        let mut parts = Parts::default();
        loop {
            let silent = |_| Status::deadline_exceeded("the agent tells nothing any more");
            let step = timeout(SILENCE, told.message()).await.map_err(silent)?;
            let Some(step) = step.map_err(of_here)? else {
                return Err(Status::aborted("the agent ended the copy without a word").into());
            };
            match step.end {
                None => {
                    parts.note(step.digest, step.done_bytes, step.total_bytes);
                    let (done, total) = parts.sums();
                    progress.set(done, total.max(offered.bytes));
                }
                Some(end) => {
                    return match end.error {
                        None => Ok(()),
                        Some(why) => Err(Missed {
                            why: shortened(&why),
                            hopeless: end.hopeless,
                        }),
                    };
                }
            }
        }
    }

    /// Says in the action and in the journal that the model is pulled.
    async fn note_fall_back(
        &self,
        stored: &Stored,
        term: u64,
        why: &str,
    ) -> Result<(), ::store::StoreError> {
        let (action, now) = (&stored.action, self.clock().now());
        let explained = format!("{}; pulled, as copying did not work: {why}", action.why);
        let mut tx = self.db().write_ordered().await?;
        journal::begin(&mut tx).await?;
        store::explain_action(&mut tx, stored.id, term, &explained).await?;
        let change = Change {
            action: journal::Action::ModelPull,
            org: None,
            subject: ("model", Some(action.model.to_string())),
            old: None,
            new: Some(json!({
                "nodes": [&*action.node_name],
                "placement_action": stored.id.to_string(),
                "instead_of_copying": why,
            })),
        };
        journal::record(&mut tx, now, &Actor::system(), change).await?;
        tx.commit().await
    }
}
