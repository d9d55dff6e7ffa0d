//! A joined call: one request to a node for several clients.

use dialects::{EmbedAnswer, EmbedRequest, EmbedShare, Request, Usage};

use super::groups::{Outbox, Taken, Told, UnderWay};
use crate::exchange::Exchange;
use crate::record::{JoinedRecord, Outcome};
use crate::relay::outcome_of;
use crate::routing::Chosen;
use crate::unary;
use crate::upstream::prepare::Wanted;

/// One client's end.
struct Client {
    share: EmbedShare,
    outbox: Outbox,
}

/// Starts a joined call at the place that `exchange` has got.
pub(super) fn start(exchange: &mut Exchange, chosen: Chosen, taken: Taken) {
    let Taken {
        first,
        others,
        under_way,
    } = taken;
    let all: Vec<_> = std::iter::once(first).chain(others).collect();
    let Some(mut request) = EmbedRequest::joined(all.iter().map(|w| w.request.as_ref())) else {
        return;
    };
    request.model.clone_from(&exchange.asked.model);
    let clients: Vec<Client> = all
        .into_iter()
        .map(|waiting| Client {
            share: waiting.share,
            outbox: waiting.outbox,
        })
        .collect();
    let joined = JoinedRecord {
        requests: clients.len() as u32,
        inputs: request.inputs.len() as u32,
    };
    let metrics = &exchange.shared().metrics;
    metrics.embeddings.joined(joined.requests);
    metrics.embeddings.call(joined.inputs);
    let mut errand = exchange.errand();
    errand.lead(exchange, chosen);
    errand.note_joined(joined);
    let size: usize = clients.iter().map(|client| client.share.size).sum();
    errand.asked.prompt_tokens = u32::try_from(size / 4).unwrap_or(u32::MAX);
    tokio::spawn(run(errand, request, clients, under_way));
}

async fn run(
    mut errand: Box<Exchange>,
    request: EmbedRequest,
    clients: Vec<Client>,
    _under_way: UnderWay,
) {
    let wanted = Wanted::Instead(Box::new(Request::Embed(Box::new(request))));
    let fetched = tokio::select! {
        fetched = unary::fetch(&mut errand, &wanted) => fetched,
        // Nobody listens any more: the node must not go on for nobody.
        () = all_gone(&clients) => return,
    };
    match fetched {
        Ok(events) => {
            let shares: Vec<EmbedShare> = clients.iter().map(|client| client.share).collect();
            let parts = EmbedAnswer::of(events)
                .ok()
                .and_then(|answer| answer.divide(&shares));
            // The turn is the first one's, and so is what it settles.
            let own = parts.iter().flatten().next().map(|part| part.usage);
            errand.end(Outcome::Ok, 200, own.unwrap_or_default(), None);
            match parts {
                Some(parts) => {
                    let report = errand.report();
                    for (client, answer) in clients.iter().zip(parts) {
                        let report = report.clone();
                        tell(client, Told::Answer { answer, report });
                    }
                }
                None => undo(&errand, &clients),
            }
        }
        Err(error) => {
            let outcome = outcome_of(&error);
            errand.end(outcome, error.kind.status(), Usage::default(), Some(&error));
            if outcome == Outcome::ClientError {
                undo(&errand, &clients);
                return;
            }
            let report = errand.report();
            for client in &clients {
                let (error, report) = (error.clone(), report.clone());
                tell(client, Told::Failed { error, report });
            }
        }
    }
}

/// Lets everybody go alone.
fn undo(errand: &Exchange, clients: &[Client]) {
    errand.shared().metrics.embeddings.undone();
    let report = errand.report();
    for client in clients {
        tell(client, Told::Alone(report.clone()));
    }
}

fn tell(client: &Client, told: Told) {
    // A client that has left does not need to know.
    drop(client.outbox.try_send(told));
}

async fn all_gone(clients: &[Client]) {
    for client in clients {
        client.outbox.closed().await;
    }
}
