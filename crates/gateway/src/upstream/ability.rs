//! Which nodes cannot do what a request asks, found out before it waits for one of them.
//!
//! Who need not wait is sent at once: there it is the try itself that tells, and the request is not written twice.

use dialects::ApiError;
use primitives::ErrorKind;
use scheduling::Exclusion;

use super::engine_call;
use super::prepare::{Prepared, Wanted, prepare};
use crate::exchange::Exchange;
use crate::fleet_view::{NodeSpeech, Replica};

/// Passes over the nodes that cannot do what is wanted; tells whether there are any more than before.
///
/// # Errors
///
/// What is wrong with the request itself: no node would take it, so that it need not wait for one.
pub(crate) fn pass_over_unable(exchange: &mut Exchange, wanted: &Wanted) -> Result<bool, ApiError> {
    let route = exchange.route.clone();
    let before = exchange.passed_over.len();
    // What one node makes of a request, all of its kind do.
    let mut kinds: Vec<(NodeSpeech, bool)> = Vec::new();
    let mut why = None;
    for replica in &route.replicas {
        let (node, speech) = (replica.node.view.id, replica.node.speech);
        if exchange.passes_over(node) || exchange.asked.only.is_some_and(|only| only != node) {
            continue;
        }
        let known = kinds.iter().find(|(kind, _)| *kind == speech);
        let is_able = if let Some((_, is_able)) = known {
            *is_able
        } else {
            let is_able = match check(exchange, replica, wanted) {
                Ok(()) => true,
                Err(error) if error.kind == ErrorKind::Unsupported => {
                    why = Some(error);
                    false
                }
                Err(error) => return Err(error),
            };
            kinds.push((speech, is_able));
            is_able
        };
        if !is_able {
            exchange.passed_over.push((node, Exclusion::Unsupported));
        }
    }
    // Where another node may still be waited for, it is no reason for anything that goes wrong there.
    if !exchange.has_untried_node()
        && let Some(why) = why
    {
        exchange.last_failure.get_or_insert(Box::new(why));
    }
    // A long prompt is not kept twice for the time of the wait.
    exchange.forget_canonical();
    Ok(exchange.passed_over.len() > before)
}

fn check(exchange: &mut Exchange, replica: &Replica, wanted: &Wanted) -> Result<(), ApiError> {
    match prepare(exchange, replica, wanted)? {
        Prepared::Engine(request) => engine_call::check(&request),
        Prepared::Residency(_) | Prepared::Http { .. } => Ok(()),
    }
}
