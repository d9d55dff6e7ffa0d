//! Waits until the fleet shows what a command has changed, so that the client's next request finds it so.

use std::sync::Arc;
use std::time::Duration;

use cluster::model_key;

use crate::fleet_view::RouteNode;
use crate::shared::Shared;

/// Longest wait: a node that does not show the change by then shows it at its next probe.
const LIMIT: Duration = Duration::from_secs(2);
/// How often the routes are looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What a command has changed.
pub(super) enum Change<'a> {
    /// The nodes have this model now.
    Added(&'a str),
    /// The nodes do not have it any more.
    Removed(&'a str),
}

/// Has the nodes looked at, and waits until the routes show the change everywhere.
pub(super) async fn settle(shared: &Arc<Shared>, nodes: &[Arc<RouteNode>], change: &Change<'_>) {
    for node in nodes {
        shared.registry.look_again(node.view.id);
    }
    let (model, present) = match change {
        Change::Added(model) => (*model, true),
        Change::Removed(model) => (*model, false),
    };
    if model.is_empty() {
        return;
    }
    let key = model_key(model).into_owned();
    let shown = async {
        loop {
            let table = shared.routes.load_full();
            if nodes
                .iter()
                .all(|node| table.has_replica(node.view.id, &key) == present)
            {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(LIMIT, shown).await.is_err() {
        tracing::debug!(model, "a node does not show a change of its models yet");
    }
}
