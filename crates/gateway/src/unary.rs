//! Answers that are not streamed: the whole answer is read before the first byte goes to the client, so that a node lost
//! half-way costs the client nothing but time.

use bytes::Bytes;
use dialects::{
    ApiError, Event, Observer, ResponseMeta, Usage, decode_whole, drop_repeated_beginning,
    encode_whole, response_id,
};
use primitives::ErrorKind;

use crate::admission;
use crate::exchange::Exchange;
use crate::fleet_view::NodeSpeech;
use crate::record::Outcome;
use crate::upstream::attempt::{self, Failure, Opened, Retry, Source};
use crate::upstream::engine_call;
use crate::upstream::prepare::{Answer, Wanted};

/// Largest answer that is read from a node: embeddings of large batches are tens of megabytes.
pub(crate) const ANSWER_LIMIT: usize = 256 << 20;

/// Answers the request, or says what the client must hear.
pub(crate) async fn answer(exchange: &mut Exchange) -> Result<Bytes, ApiError> {
    let obtained = obtain(exchange, &Wanted::Original { may_pass: true }).await;
    let written = match obtained {
        Ok(Whole::Passed(body, usage)) => Ok((body, usage)),
        Ok(Whole::Events(events)) => write(exchange, &events),
        Err(error) => Err(error),
    };
    match written {
        Ok((body, usage)) => {
            exchange.end(Outcome::Ok, 200, usage, None);
            Ok(body)
        }
        Err(error) => {
            exchange.refuse(&error);
            Err(error)
        }
    }
}

/// Obtains the events of a whole answer to another request than the client's own.
pub(crate) async fn fetch(
    exchange: &mut Exchange,
    wanted: &Wanted,
) -> Result<Vec<Event>, ApiError> {
    match obtain(exchange, wanted).await? {
        Whole::Events(events) => Ok(events),
        Whole::Passed(..) => Err(ApiError::new(
            ErrorKind::Bug,
            "an answer passed that was to be read: please report this",
        )),
    }
}

/// A whole answer.
enum Whole {
    /// As the node wrote it, in the client's dialect.
    Passed(Bytes, Usage),
    /// To be written.
    Events(Vec<Event>),
}

async fn obtain(exchange: &mut Exchange, wanted: &Wanted) -> Result<Whole, ApiError> {
    loop {
        let limit = exchange.shared().config().unary_timeout;
        let mut opened = attempt::open(exchange, wanted, limit).await?;
        let source = std::mem::replace(&mut opened.source, Source::Ready(Vec::new()));
        let stopped = admission::has_to_give_way(exchange);
        let reading = tokio::select! {
            biased;
            read = tokio::time::timeout(limit, read(source)) => Some(read),
            () = stopped => None,
        };
        let Some(reading) = reading else {
            drop(opened);
            admission::gave_way(exchange);
            continue;
        };
        let failure = match reading {
            Ok(Ok(mut whole)) => {
                exchange.note_first_token();
                if let Whole::Events(events) = &mut whole {
                    drop_beginning(exchange, &opened, events)?;
                }
                exchange.note_success(&mut opened, &usage_of(&whole), 0);
                return Ok(whole);
            }
            Ok(Err(failure)) => failure,
            Err(_) => {
                let name = &opened.chosen.replica.node.view.name;
                let error = ApiError::new(
                    ErrorKind::Timeout,
                    format!(
                        "node {name} did not finish its answer within {} s",
                        limit.as_secs()
                    ),
                );
                Failure::node("timeout", error)
            }
        };
        if let Some(error) = after_failure(exchange, &mut opened, failure) {
            return Err(error);
        }
    }
}

/// Takes out of an answer what the client had begun it with, where the node repeats that.
fn drop_beginning(
    exchange: &mut Exchange,
    opened: &Opened,
    events: &mut [Event],
) -> Result<(), ApiError> {
    if let NodeSpeech::Http { server, .. } = opened.chosen.replica.node.speech
        && server.repeats_beginnings()
    {
        drop_repeated_beginning(exchange.canonical()?, events);
    }
    Ok(())
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
    None
}

async fn read(source: Source) -> Result<Whole, Failure> {
    let events = match source {
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
                        return Err(Failure::node("error", *error));
                    }
                    let body = match rename {
                        Some(rename) => rename.apply(body),
                        None => body,
                    };
                    return Ok(Whole::Passed(body, seen.usage.unwrap_or_default()));
                }
                Answer::Translate => decode_whole(operation, 200, &body)
                    .map_err(|e| Failure::node("malformed", e))?,
            }
        }
        Source::Engine(mut generation) => {
            let mut events = Vec::new();
            while let Some(event) = generation.next().await {
                engine_call::events(event, &mut events);
            }
            events
        }
        Source::Ready(events) => events,
    };
    let error = events.iter().find_map(|event| match event {
        Event::Error(error) => Some(error.clone()),
        _ => None,
    });
    match error {
        Some(error) => Err(Failure::node("malformed", error)),
        None => Ok(Whole::Events(events)),
    }
}

fn usage_of(whole: &Whole) -> Usage {
    match whole {
        Whole::Passed(_, usage) => *usage,
        Whole::Events(events) => last_usage(events),
    }
}

fn last_usage(events: &[Event]) -> Usage {
    let usages = events.iter().rev().filter_map(|event| match event {
        Event::Usage(usage) => Some(*usage),
        _ => None,
    });
    usages.into_iter().next().unwrap_or_default()
}

/// Writes a whole answer in the client's dialect; returns its usage, too.
pub(crate) fn write(exchange: &mut Exchange, events: &[Event]) -> Result<(Bytes, Usage), ApiError> {
    let operation = exchange.operation;
    let (id, created) = (
        response_id(operation, &exchange.id.to_string()),
        exchange.received_at(),
    );
    let now = exchange.shared().clock.now();
    let meta = ResponseMeta::for_request(exchange.canonical()?, id, created);
    let body = encode_whole(operation, &meta, events, now)?;
    Ok((body, last_usage(events)))
}
