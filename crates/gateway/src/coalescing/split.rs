//! A large embedding request in parts, over several nodes at once.

use std::sync::Arc;

use bytes::Bytes;
use dialects::{ApiError, EmbedAnswer, EmbedInput, EmbedRequest, Request, Vector};
use futures_util::{StreamExt as _, stream};

use super::{CoalescingRules, ended, finish};
use crate::exchange::{Exchange, Report};
use crate::record::Outcome;
use crate::relay::outcome_of;
use crate::unary;
use crate::upstream::prepare::Wanted;

/// Most parts of one request that wait or run at once.
const AT_ONCE: usize = 32;
/// Largest answer put together: what is read whole from one node, too.
const ANSWER_LIMIT: usize = unary::ANSWER_LIMIT;

/// Answers a request whose inputs do not fit into one call. Each part takes its own turn in the queue and goes to the node that
/// suits it best by then.
pub(super) async fn answer(
    exchange: &mut Exchange,
    request: &EmbedRequest,
    rules: CoalescingRules,
) -> Result<Bytes, ApiError> {
    let parts = parts(request, rules, exchange.route.replicas.len());
    let at_once = (exchange.route.replicas.len() * 2).clamp(2, AT_ONCE);
    exchange.parts = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let outcome = {
        let exchange = &*exchange;
        let mut answers =
            stream::iter(parts.into_iter().map(|part| fetch(exchange, part))).buffered(at_once);
        let mut whole = EmbedAnswer::default();
        let mut reports = Vec::new();
        let mut size = 0;
        loop {
            match answers.next().await {
                None => break Ok((whole, reports)),
                Some(Ok((answer, report))) => {
                    size += answer.vectors.iter().map(Vector::size).sum::<usize>();
                    if size > ANSWER_LIMIT {
                        break Err(ApiError::upstream(format!(
                            "the vectors take more than {ANSWER_LIMIT} bytes: send fewer inputs"
                        )));
                    }
                    whole.append(answer);
                    reports.push(report);
                }
                Some(Err(failed)) => break Err(failed),
            }
        }
    };
    match outcome {
        Ok((whole, reports)) => {
            for report in reports {
                exchange.adopt(&report);
            }
            finish(exchange, whole)
        }
        // In one piece, so that the node's own words fit the request as it was sent.
        Err(error) if outcome_of(&error) == Outcome::ClientError => {
            exchange.parts = 0;
            unary::answer(exchange).await
        }
        Err(error) => Err(ended(exchange, error)),
    }
}

async fn fetch(
    exchange: &Exchange,
    part: EmbedRequest,
) -> Result<(EmbedAnswer, Arc<Report>), ApiError> {
    let inputs = part.inputs.len();
    let size: usize = part.inputs.iter().map(EmbedInput::size).sum();
    exchange.shared().metrics.embeddings.call(inputs as u32);
    let mut errand = exchange.errand();
    errand.asked.prompt_tokens = u32::try_from(size / 4).unwrap_or(u32::MAX);
    let wanted = Wanted::Instead(Box::new(Request::Embed(Box::new(part))));
    let events = unary::fetch(&mut errand, &wanted).await?;
    let answer = EmbedAnswer::of(events)?;
    if answer.vectors.len() != inputs {
        return Err(ApiError::upstream(
            "the node's answer has not one vector for each input",
        ));
    }
    errand.end(Outcome::Ok, 200, answer.usage, None);
    Ok((answer, errand.report()))
}

/// Cuts the inputs, in order, into parts with about the same number of them that fit into one call each: at least one for each node.
fn parts(request: &EmbedRequest, rules: CoalescingRules, nodes: usize) -> Vec<EmbedRequest> {
    let inputs = request.inputs.len();
    let least = inputs
        .div_ceil(rules.max_inputs.max(1))
        .max(nodes.min(AT_ONCE));
    let per_part = inputs.div_ceil(least).max(1);
    let mut parts = Vec::with_capacity(least);
    let (mut from, mut bytes) = (0, 0);
    for (at, input) in request.inputs.iter().enumerate() {
        let full = at - from >= per_part || bytes + input.size() > rules.max_bytes;
        if full && at > from {
            parts.push(request.part(from..at));
            (from, bytes) = (at, 0);
        }
        bytes += input.size();
    }
    parts.push(request.part(from..inputs));
    parts
}

#[cfg(test)]
mod tests {
    use dialects::{Operation, decode_request};

    use super::*;

    fn request(lengths: &[usize]) -> EmbedRequest {
        let texts: Vec<String> = lengths.iter().map(|n| "x".repeat(*n)).collect();
        let body = serde_json::json!({"model": "m", "input": texts}).to_string();
        match decode_request(Operation::OpenAiEmbeddings, body.as_bytes()) {
            Ok(Request::Embed(request)) => *request,
            other => panic!("{other:?}"),
        }
    }

    fn lengths(request: &EmbedRequest, nodes: usize) -> Vec<usize> {
        let rules = CoalescingRules {
            max_inputs: 10,
            max_bytes: 100,
            ..CoalescingRules::default()
        };
        let parts = parts(request, rules, nodes);
        let all: Vec<_> = parts.iter().flat_map(|p| p.inputs.clone()).collect();
        assert_eq!(all, request.inputs, "order is kept, nothing is lost");
        parts.iter().map(|part| part.inputs.len()).collect()
    }

    #[test]
    fn parts_fit_into_calls_and_reach_every_node() {
        assert_eq!(lengths(&request(&[1; 25]), 2), [9, 9, 7]);
        assert_eq!(lengths(&request(&[1; 12]), 4), [3, 3, 3, 3]);
        assert_eq!(lengths(&request(&[60, 60, 30, 500, 5]), 2), [1, 2, 1, 1]);
        assert_eq!(lengths(&request(&[200, 200]), 3), [1, 1]);
    }
}
