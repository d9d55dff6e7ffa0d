//! Waiting for agents whose link is lost: a partition that passes costs no request that can begin anew or go on.

use cluster::AgentSeat;
use futures_util::future::select_all;
use tokio::time::{Instant, timeout_at};

use crate::admission;
use crate::exchange::Exchange;
use crate::metrics::Waiting;

/// Waits until the agent of a node that has the model is linked again. Returns whether one is; at once when none was there lately.
///
/// Nobody's place is taken meanwhile: whoever waited stands in the queue afterwards, as when it came.
pub(super) async fn come_back(exchange: &Exchange) -> bool {
    let lost: Vec<(&AgentSeat, Instant)> = exchange
        .route
        .replicas
        .iter()
        .map(|replica| &replica.node)
        .filter(|node| {
            let id = node.view.id;
            !node.view.draining && admission::excluded(&[], exchange.asked.only, id).is_none()
        })
        .filter_map(|node| {
            let seat = node.target.as_ref()?.agent.as_deref()?;
            Some((seat, seat.awaited_until()?))
        })
        .collect();
    let Some(until) = lost.iter().map(|(_, until)| *until).max() else {
        return false;
    };
    let _waiting = Waiting::begin(&exchange.shared().metrics.waiting_for_agents);
    let links = lost.iter().map(|(seat, _)| Box::pin(seat.linked()));
    timeout_at(until, select_all(links)).await.is_ok()
}
