//! Embedding requests of several clients in one call to a node, and large ones over several nodes.
//!
//! Every request waits for its turn and its place by itself, with its own share of the fleet. Whoever gets a place first takes
//! all those along that wait for the same (model, options) and fit into one call: nobody waits behind somebody else's turn,
//! and everybody is charged for what is his. While no call for the same is under way a request goes at once; otherwise it
//! waits a moment ([`CoalescingRules::window`]) for company, at most until that call is done.
//!
//! A joined call belongs to none of its clients: it runs in a task of its own ([`joint`]) and ends early only when all of them
//! have left. When the node refuses it as wrong, every request goes alone, so that the mistake of one is not the others'.

mod groups;
mod joint;
mod split;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialects::{
    ApiError, Dialect, EmbedAnswer, EmbedInput, EmbedRequest, EmbedShare, Operation, Request, Task,
    Usage,
};

use self::groups::{Entered, GroupKey, Inbox, Told};
use crate::admission;
use crate::exchange::Exchange;
use crate::fleet_view::NodeSpeech;
use crate::record::Outcome;
use crate::relay::outcome_of;
use crate::routing;
use crate::unary;
use crate::upstream::prepare::Wanted;

pub(crate) use self::groups::Groups;

/// How embedding requests share calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoalescingRules {
    /// Whether they do at all.
    pub enabled: bool,
    /// How long a request waits for company while a call for the same is under way.
    pub window: Duration,
    /// Most inputs of one call, at least 1; requests with more are divided over nodes, where there are several.
    pub max_inputs: usize,
    /// Most bytes that the inputs of one call have together; as above.
    pub max_bytes: usize,
}

impl Default for CoalescingRules {
    fn default() -> Self {
        Self {
            enabled: true,
            window: Duration::from_millis(3),
            max_inputs: 64,
            max_bytes: 1 << 20,
        }
    }
}

/// Answers an embedding request, or says what the client must hear.
pub(crate) async fn answer(exchange: &mut Exchange) -> Result<Bytes, ApiError> {
    let rules = exchange.shared().config().coalescing;
    // Who is bound for one node joins no call that another one may answer.
    let is_bound = exchange.asked.only.is_some();
    if !rules.enabled || is_bound || exchange.operation.task() != Task::Embedding {
        return unary::answer(exchange).await;
    }
    let Some((task, request)) = joinable(exchange) else {
        return unary::answer(exchange).await;
    };
    let share = share(&request);
    if share.inputs > rules.max_inputs || share.size > rules.max_bytes {
        if exchange.route.replicas.len() > 1 && share.inputs > 1 {
            return split::answer(exchange, &request, rules).await;
        }
        return unary::answer(exchange).await;
    }
    let key = GroupKey {
        model: exchange.route.name.clone(),
        task,
    };
    let entered = exchange
        .shared()
        .embeddings
        .clone()
        .enter(key, request, share, rules);
    let led = company(exchange, entered, rules).await;
    match led {
        Ok(Company::None(_under_way)) => alone(exchange, share).await,
        Ok(Company::Some(mut inbox)) => joined(exchange, &mut inbox, share).await,
        Err(error) => Err(ended(exchange, error)),
    }
}

/// Sends the request as the client wrote it, for itself.
async fn alone(exchange: &mut Exchange, share: EmbedShare) -> Result<Bytes, ApiError> {
    let metrics = &exchange.shared().metrics;
    metrics.embeddings.call(share.inputs as u32);
    unary::answer(exchange).await
}

/// Reads the request, if it is one that others may join.
fn joinable(exchange: &mut Exchange) -> Option<(String, Arc<EmbedRequest>)> {
    let Ok(Request::Embed(request)) = exchange.canonical() else {
        // What cannot be read is for the node to judge.
        return None;
    };
    let task = request.joining_key()?;
    let request = Arc::new(EmbedRequest::clone(request));
    // Vectors of Ollama's deprecated route are not normalised: no other route gives the same.
    let deprecated = exchange.operation == Operation::OllamaEmbeddings;
    let speaks_ollama = |speech| {
        matches!(
            speech,
            NodeSpeech::Http {
                dialect: Dialect::Ollama,
                ..
            }
        )
    };
    let mut replicas = exchange.route.replicas.iter();
    if deprecated && replicas.any(|replica| speaks_ollama(replica.node.speech)) {
        return None;
    }
    Some((task, request))
}

fn share(request: &EmbedRequest) -> EmbedShare {
    EmbedShare {
        inputs: request.inputs.len(),
        size: request.inputs.iter().map(EmbedInput::size).sum(),
    }
}

/// How a request goes to a node.
enum Company {
    /// Alone; the guard tells others that it is under way.
    None(groups::UnderWay),
    /// In a joined call that tells here how it went.
    Some(Inbox),
}

/// Waits for a place, or to be taken along by another request that has one.
async fn company(
    exchange: &mut Exchange,
    entered: Entered,
    rules: CoalescingRules,
) -> Result<Company, ApiError> {
    let Entered {
        member,
        mut inbox,
        waits,
    } = entered;
    if waits {
        tokio::select! {
            biased;
            told = inbox.recv() => {
                if matches!(told, Some(Told::Taken)) {
                    return Ok(ride(exchange, inbox));
                }
            }
            () = tokio::time::sleep(rules.window) => {}
        }
    }
    let wanted = Wanted::Original { may_pass: true };
    loop {
        let chosen = tokio::select! {
            biased;
            told = inbox.recv() => match told {
                Some(Told::Taken) => return Ok(ride(exchange, inbox)),
                // It has begun to wait for its place already.
                _ => continue,
            },
            chosen = routing::choose(exchange, &wanted) => chosen?,
        };
        let Some(taken) = member.take(rules) else {
            // Another one has taken this request along in the same moment: the place is free again.
            drop(chosen);
            return Ok(ride(exchange, inbox));
        };
        if taken.others.is_empty() {
            exchange.granted = Some(Box::new(chosen));
            return Ok(Company::None(taken.under_way));
        }
        joint::start(exchange, chosen, taken);
        return Ok(Company::Some(inbox));
    }
}

/// Goes along in another request's call, on its own account.
fn ride(exchange: &mut Exchange, inbox: Inbox) -> Company {
    exchange.end_waiting();
    admission::ride(exchange);
    Company::Some(inbox)
}

/// Waits for a joined call to end, and answers with this request's part of it.
async fn joined(
    exchange: &mut Exchange,
    inbox: &mut Inbox,
    share: EmbedShare,
) -> Result<Bytes, ApiError> {
    loop {
        match inbox.recv().await {
            Some(Told::Taken | Told::Go) => {}
            Some(Told::Answer { answer, report }) => {
                exchange.adopt(&report);
                return finish(exchange, answer);
            }
            Some(Told::Failed { error, report }) => {
                exchange.adopt(&report);
                return Err(ended(exchange, error));
            }
            Some(Told::Alone(report)) => {
                exchange.adopt(&report);
                exchange.joined = None;
                return alone(exchange, share).await;
            }
            // The task is gone without a word: only a bug or the end of the program does that.
            None => return alone(exchange, share).await,
        }
    }
}

/// Writes the answer in the client's dialect and ends the request well.
fn finish(exchange: &mut Exchange, answer: EmbedAnswer) -> Result<Bytes, ApiError> {
    exchange.note_first_token();
    let written = unary::write(exchange, &answer.into_events());
    match written {
        Ok((body, usage)) => {
            exchange.end(Outcome::Ok, 200, usage, None);
            Ok(body)
        }
        Err(error) => Err(ended(exchange, error)),
    }
}

fn ended(exchange: &mut Exchange, error: ApiError) -> ApiError {
    exchange.end(
        outcome_of(&error),
        error.kind.status(),
        Usage::default(),
        Some(&error),
    );
    error
}
