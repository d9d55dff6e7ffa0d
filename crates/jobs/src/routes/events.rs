//! `GET /api/v1/inference/jobs/{id}/events`: a job's output as it comes, as server-sent events that can be resumed.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use identity::Caller;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use web::{PathParam, Problem};

use super::body::JobBody;
use super::{job_id, problem};
use crate::follow::{Following, Happening};
use crate::model::{ChunkNumber, JobError, Owner};
use crate::surface::Jobs;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Reverse proxies that buffer would hold events back.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);
/// Events that are ready before the client takes them.
const READ_AHEAD: usize = 4;
/// How long a client waits before it connects again.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

/// Follows one of the caller's jobs
///
/// Server-sent events: `output` with pieces of the answer, `restarted` when an answer begins anew, and at the end `completed`, `failed` or
/// `cancelled` with the whole job. Each has a number as its id; `Last-Event-ID` goes on after it, without a gap and without a repetition,
/// also after the server was restarted. An answer that has gone on for five minutes is ended, and the client asks again. 204 says that the
/// job has ended and the client has got everything.
#[utoipa::path(get, path = "/api/v1/inference/jobs/{id}/events", operation_id = "follow_job", tag = "inference",
    params(
        ("id" = String, Path, description = "The job's id."),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client got.", pattern = "^[ -~]*$"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Events as they come.", content_type = "text/event-stream", body = String),
        (status = 204, description = "The job has ended, and the client has got everything."),
        (status = 404, description = "There is no such job of the caller's.", body = Problem),
        (status = 429, description = "Too many follow jobs.", body = Problem),
    ))]
pub(super) async fn follow_job(
    caller: Caller,
    State(jobs): State<Jobs>,
    PathParam(id): PathParam<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = job_id(&id).map_err(problem)?;
    let after = last_event(&headers).map_err(problem)?;
    let owner = Owner::of(caller.principal());
    let Some(following) = jobs.follow(owner, id, after).await.map_err(problem)? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    // An answer's body is read where the connection is served, and the database is not for those threads.
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    tokio::spawn(follow(following, sender));
    let events = unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((Ok::<_, Infallible>(event), receiver))
    });
    let sse = Sse::new(events).keep_alive(KeepAlive::default());
    Ok(([UNBUFFERED], sse).into_response())
}

/// Hands on what happens, until the client goes away.
async fn follow(mut following: Following, sender: mpsc::Sender<Event>) {
    loop {
        let happening = tokio::select! {
            happening = following.next() => happening,
            () = sender.closed() => return,
        };
        let Some(happening) = happening else {
            return;
        };
        if sender.send(event(happening)).await.is_err() {
            return;
        }
    }
}

/// Returns the number of the last event that the client got; 0 when it got none.
fn last_event(headers: &HeaderMap) -> Result<ChunkNumber, JobError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(0);
    };
    let number = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    number.filter(|number| *number >= 0).ok_or_else(|| {
        JobError::Filter("Last-Event-ID is not one of this job's: leave it out".to_owned())
    })
}

fn event(happening: Happening) -> Event {
    let event = Event::default()
        .id(happening.number().to_string())
        .retry(CONNECT_AGAIN);
    match happening {
        Happening::Piece(_, piece) => {
            let restarted = piece.get("restarted") == Some(&Value::Bool(true));
            let name = if restarted { "restarted" } else { "output" };
            with_data(event.event(name), &piece)
        }
        Happening::End(job, result) => {
            let name = job.state.as_str();
            with_data(event.event(name), &JobBody::new(*job, result))
        }
    }
}

fn with_data(event: Event, data: &impl Serialize) -> Event {
    // What was made of JSON can be written as JSON.
    let text = serde_json::to_string(data).unwrap_or_default();
    event.data(text)
}
