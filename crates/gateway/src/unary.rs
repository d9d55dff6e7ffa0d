//! Answers that are not streamed: the whole answer is read before the first byte goes to the client, so that a node lost
//! half-way costs the client nothing but time.

use bytes::Bytes;
use dialects::{
    ApiError, Event, Observer, ResponseMeta, Usage, decode_whole, encode_whole, response_id,
};
use primitives::ErrorKind;

use crate::exchange::Exchange;
use crate::record::Outcome;
use crate::relay::outcome_of;
use crate::upstream::attempt::{self, Failure, Opened, Retry, Source};
use crate::upstream::engine_call;
use crate::upstream::prepare::{Answer, Wanted};

/// Largest answer that is read from a node: embeddings of large batches are tens of megabytes.
const ANSWER_LIMIT: usize = 256 << 20;

/// Answers the request, or says what the client must hear.
pub(crate) async fn answer(exchange: &mut Exchange) -> Result<Bytes, ApiError> {
    let result = loop {
        let limit = exchange.shared().config.unary_timeout;
        let mut opened =
            match attempt::open(exchange, &Wanted::Original { may_pass: true }, limit).await {
                Ok(opened) => opened,
                Err(error) => break Err(error),
            };
        let source = std::mem::replace(&mut opened.source, Source::Ready(Vec::new()));
        match tokio::time::timeout(limit, read(exchange, source)).await {
            Ok(Ok((body, usage))) => {
                exchange.note_first_token();
                exchange.note_success(&mut opened, &usage, 0);
                exchange.end(Outcome::Ok, 200, usage, None);
                break Ok(body);
            }
            Ok(Err(failure)) => {
                if let Some(error) = after_failure(exchange, &mut opened, failure) {
                    break Err(error);
                }
            }
            Err(_) => {
                let name = &opened.chosen.replica.node.view.name;
                let error = ApiError::new(
                    ErrorKind::Timeout,
                    format!(
                        "node {name} did not finish its answer within {} s",
                        limit.as_secs()
                    ),
                );
                if let Some(error) =
                    after_failure(exchange, &mut opened, Failure::node("timeout", error))
                {
                    break Err(error);
                }
            }
        }
    };
    result.inspect_err(|error| {
        exchange.end(
            outcome_of(error),
            error.kind.status(),
            Usage::default(),
            Some(error),
        );
    })
}

/// Books a failure; returns the error when it is final.
fn after_failure(
    exchange: &mut Exchange,
    opened: &mut Opened,
    failure: Failure,
) -> Option<ApiError> {
    attempt::note_failure(exchange, &mut opened.chosen, &failure);
    if failure.retry == Retry::Never || !attempt::may_retry(exchange, failure.reason) {
        return Some(failure.error);
    }
    exchange.shared().metrics.retried(failure.reason);
    None
}

async fn read(exchange: &mut Exchange, source: Source) -> Result<(Bytes, Usage), Failure> {
    match source {
        Source::Http {
            operation,
            body,
            answer,
            ..
        } => {
            let body = body
                .collect(ANSWER_LIMIT)
                .await
                .map_err(|e| Failure::node("broke_off", ApiError::upstream(e.to_string())))?;
            match answer {
                Answer::Pass { rename, .. } => {
                    let seen = Observer::whole(operation, &body);
                    if let Some(error) = seen.error {
                        return Err(Failure::node("error", error));
                    }
                    let body = match rename {
                        Some(rename) => rename.apply(body),
                        None => body,
                    };
                    Ok((body, seen.usage.unwrap_or_default()))
                }
                Answer::Translate => {
                    let events = decode_whole(operation, 200, &body)
                        .map_err(|e| Failure::node("malformed", e))?;
                    write(exchange, &events)
                }
            }
        }
        Source::Engine(mut generation) => {
            let mut events = Vec::new();
            while let Some(event) = generation.next().await {
                engine_call::events(event, &mut events);
            }
            write(exchange, &events)
        }
        Source::Ready(events) => write(exchange, &events),
    }
}

fn write(exchange: &mut Exchange, events: &[Event]) -> Result<(Bytes, Usage), Failure> {
    let usage = events
        .iter()
        .rev()
        .find_map(|event| match event {
            Event::Usage(usage) => Some(*usage),
            _ => None,
        })
        .unwrap_or_default();
    let operation = exchange.operation;
    let (id, created) = (
        response_id(operation, &exchange.id.to_string()),
        exchange.received_at(),
    );
    let now = exchange.shared().clock.now();
    let meta =
        ResponseMeta::for_request(exchange.canonical().map_err(Failure::client)?, id, created);
    let body =
        encode_whole(operation, &meta, events, now).map_err(|e| Failure::node("malformed", e))?;
    Ok((body, usage))
}
