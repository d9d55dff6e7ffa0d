//! Giving a release to an agent over its link.

use std::sync::Arc;
use std::time::Duration;

use agent_proto::v1::{ReleaseHead, ReleasePart};
use futures_util::stream::poll_fn;
use primitives::{NodeId, RolloutId};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::record::Release;
use super::{AgentUpdates, store};
use crate::agents::AgentLink;

/// How long the bytes of a release may take to an agent.
const LIMIT: Duration = Duration::from_hours(1);
/// The wait before an agent whose link broke is given the release again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long an agent that has the release is given to say that it tries it.
const TRYING: Duration = Duration::from_secs(10);
/// Pieces that are read before the link takes them.
const READ_AHEAD: usize = 2;
/// The longest reason that is kept.
const MOST_REASON: usize = 600;

impl AgentUpdates {
    /// Gives a release to an agent. Why it does not take it is noted; where the link breaks, the next look begins anew.
    pub(super) async fn give(
        &self,
        rollout: RolloutId,
        node: NodeId,
        link: &Arc<AgentLink>,
        release: &Release,
    ) {
        let Ok(turn) = self.inner.turns.acquire().await else {
            return;
        };
        let (pieces, mut taken) = mpsc::channel(READ_AHEAD);
        let parts = poll_fn(move |cx| taken.poll_recv(cx));
        // An agent that says no takes no more pieces; one that gets no more of them says that the release broke off.
        let reading = async {
            if let Err(status) = self.read_all(rollout, release, pieces).await {
                tracing::debug!(%node, reason = status.message(), "a release is not given on");
            }
            std::future::pending().await
        };
        let installed = timeout(LIMIT, async {
            tokio::select! {
                installed = link.install_release(parts) => installed,
                stuck = reading => stuck,
            }
        });
        let late = |_| Status::unavailable("the link is too slow");
        let outcome = installed.await.map_err(late).flatten();
        drop(turn);
        self.inner.figures.given(outcome.is_ok());
        match outcome {
            Ok(()) => sleep(TRYING).await,
            Err(status) => {
                let reason = agent_proto::deepest(&status);
                tracing::warn!(%node, reason, "an agent has not taken the release");
                if is_refusal(status.code()) {
                    let reason: String = reason.chars().take(MOST_REASON).collect();
                    if let Err(error) = self.note_refusal(rollout, node, &reason).await {
                        tracing::warn!(%error, "that cannot be noted");
                    }
                }
                sleep(AGAIN).await;
            }
        }
        self.given(rollout, node);
    }

    async fn note_refusal(
        &self,
        rollout: RolloutId,
        node: NodeId,
        reason: &str,
    ) -> Result<(), ::store::StoreError> {
        let mut tx = self.db().write().await?;
        store::fail_asked(&mut tx, rollout, node, reason).await?;
        tx.commit().await
    }

    /// Hands on what the release is, and then its program, piece by piece.
    async fn read_all(
        &self,
        rollout: RolloutId,
        release: &Release,
        pieces: mpsc::Sender<ReleasePart>,
    ) -> Result<(), Status> {
        let head = ReleaseHead {
            attempt: rollout.to_string(),
            manifest: release.manifest.to_string(),
        };
        let first = ReleasePart {
            head: Some(head),
            ..ReleasePart::default()
        };
        let gone = |_| Status::unavailable("the agent takes no more");
        pieces.send(first).await.map_err(gone)?;
        for number in 0.. {
            let unread = |error: ::store::StoreError| Status::unavailable(error.to_string());
            let mut tx = self.db().read().await.map_err(unread)?;
            let open = store::find_open(&mut tx).await.map_err(unread)?;
            if open.is_none_or(|open| open.id != rollout) {
                return Err(Status::aborted("the roll-out has ended"));
            }
            let piece = store::find_piece(&mut tx, &release.id, number).await;
            let Some(data) = piece.map_err(unread)? else {
                break;
            };
            tx.commit().await.map_err(unread)?;
            pieces
                .send(ReleasePart { head: None, data })
                .await
                .map_err(gone)?;
        }
        Ok(())
    }
}

/// Tells whether an agent has said no, so that asking again would not help.
const fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::DataLoss
            | Code::Unimplemented
            | Code::ResourceExhausted
    )
}
