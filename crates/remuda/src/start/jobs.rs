//! Durable work, carried out by the data plane: the same queue, routing and records as live requests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialects::Operation;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use gateway::{Inside, InsideRequest};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use identity::{Identity, PrincipalKind};
use jobs::{
    BatchAnswer, BatchExecutor, BatchRequest, Executor, JobKind, JobStep, Jobs, JobsConfig,
    JobsDeps, Observer, Outcome, Refusal, Step, Work,
};
use primitives::{Clock, ErrorKind, RequestId};
use realtime::{CallerId, Hub, InferenceEvent, Owner};
use serde_json::Value;
use store::{Db, Sealer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::answer_lines::AnswerLines;
use super::tasks::Tasks;
use crate::config::Config;

/// The most bytes of an answer that tells of an error.
const LONGEST_ERROR: usize = 64 << 10;
/// The most bytes of the answer to a line of a batch.
const LONGEST_ANSWER: usize = 16 << 20;

/// Makes the domain. Nothing is carried out before [`start`].
pub(super) fn open(
    config: &Config,
    db: &Db,
    sealer: Arc<Sealer>,
    clock: &Arc<dyn Clock>,
    identity: &Identity,
    hub: &Hub,
) -> Jobs {
    let section = &config.jobs;
    Jobs::new(JobsDeps {
        db: db.clone(),
        sealer,
        clock: Arc::clone(clock),
        identity: identity.clone(),
        config: JobsConfig {
            concurrency: section.concurrency,
            max_live: section.max_queued,
            max_live_of_organisation: section.max_queued_of_organisation,
            lease: section.lease.0,
            most_attempts: section.max_attempts,
            give_up_after: section.give_up_after.0,
            retention: section.retention.0,
            max_kept: section.max_kept,
            output_limit: usize::try_from(section.output_limit.0).unwrap_or(usize::MAX),
            file_limit: section.file_limit.0,
            file_retention: section.file_retention.0,
            batch_lines: section.batch_lines,
            batch_places: section.batch_places,
        },
        observer: Some(observer(hub.clone())),
    })
}

/// Has jobs accepted and carried out until `stop`.
pub(super) fn start(
    jobs: Jobs,
    inside: Inside,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let batches = BatchLines {
        inside: inside.clone(),
    };
    if let Err(error) = jobs.carry_out_batches(Arc::new(batches)) {
        tracing::error!(%error, "batches are not carried out");
    }
    tasks.spawn("kept jobs", jobs.clone().keep(stop.clone()));
    tokio::spawn(jobs.work(Arc::new(DataPlane { inside }), stop.clone()))
}

/// Has the hub tell of steps.
fn observer(hub: Hub) -> Observer {
    Arc::new(move |step: &JobStep<'_>| {
        let job = step.job;
        let caller = match job.owner.who {
            PrincipalKind::User(id) => Some(CallerId::User(id)),
            PrincipalKind::Key(id) => Some(CallerId::Key(id)),
            PrincipalKind::Anonymous => None,
        };
        let owner = Owner {
            org: job.owner.org,
            caller,
        };
        let event = InferenceEvent {
            inference_id: job.id.to_string(),
            status: step.status,
            progress: None,
            model: Some(&job.subject),
            node: None,
            completion_tokens: None,
            piece: Some(job.chunks),
            reason: job
                .error_kind
                .as_deref()
                .filter(|_| step.status == "failed"),
        };
        let id = RequestId::from_uuid(job.id.as_uuid());
        hub.publish_inference(id, owner, &event);
    })
}

/// Carries jobs out as requests to the data plane.
struct DataPlane {
    inside: Inside,
}

fn operation(kind: JobKind) -> Operation {
    match kind {
        JobKind::Chat => Operation::OllamaChat,
        JobKind::Generate => Operation::OllamaGenerate,
    }
}

fn request(work: &Work) -> InsideRequest {
    InsideRequest {
        principal: work.principal.clone(),
        address: work
            .client_address
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        operation: operation(work.kind),
        class: work.class,
        body: Bytes::from(work.payload.to_string()),
        node: None,
    }
}

impl Executor for DataPlane {
    fn check(&self, work: &Work) -> Result<String, Refusal> {
        let model = self.inside.check(&request(work));
        model
            .map(|name| name.to_string())
            .map_err(|error| Refusal::new(error.kind, error.message))
    }

    fn run(&self, work: Work) -> BoxStream<'static, Step> {
        let inside = self.inside.clone();
        let asking = async move {
            let response = inside.infer(request(&work)).await;
            let (head, body) = response.into_parts();
            let id = head
                .headers
                .get(web::REQUEST_ID_HEADER)
                .and_then(|id| id.to_str().ok()?.parse().ok());
            let begun = stream::iter(id.map(Step::Request));
            let answer = if head.status.is_success() {
                AnswerLines::new(work.kind, body).steps().boxed()
            } else {
                stream::once(refused(head.status, head.headers, body)).boxed()
            };
            begun.chain(answer)
        };
        stream::once(asking).flatten().boxed()
    }
}

/// Answers the lines of batches as requests to the data plane.
struct BatchLines {
    inside: Inside,
}

/// Returns the operation of a batch's endpoint: those of the `OpenAI` API that have whole answers.
fn batch_operation(endpoint: &str) -> Option<Operation> {
    let known = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
    ];
    known
        .contains(&endpoint)
        .then(|| Operation::from_path(endpoint))
        .flatten()
}

impl BatchExecutor for BatchLines {
    fn serves(&self, endpoint: &str) -> bool {
        batch_operation(endpoint).is_some()
    }

    fn answer(&self, request: BatchRequest) -> BoxFuture<'static, BatchAnswer> {
        let inside = self.inside.clone();
        Box::pin(async move {
            let Some(operation) = batch_operation(&request.endpoint) else {
                return BatchAnswer {
                    status: 400,
                    request_id: String::new(),
                    retry_after: None,
                    body: Bytes::from_static(b"{\"error\":{\"message\":\"there is no such endpoint\",\"type\":\"invalid_request_error\",\"param\":\"url\",\"code\":null}}"),
                };
            };
            let response = inside
                .infer(InsideRequest {
                    principal: request.principal,
                    address: request
                        .client_address
                        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                    operation,
                    class: request.class,
                    body: request.body,
                    node: None,
                })
                .await;
            let (head, body) = response.into_parts();
            let said = |name: &str| head.headers.get(name)?.to_str().ok();
            let request_id = said(web::REQUEST_ID_HEADER).unwrap_or_default().to_owned();
            let retry_after = said(RETRY_AFTER.as_str())
                .and_then(|wait| wait.parse().ok())
                .map(Duration::from_secs);
            match web::read_capped(body, LONGEST_ANSWER).await {
                Ok(body) => BatchAnswer {
                    status: head.status.as_u16(),
                    request_id,
                    retry_after,
                    body,
                },
                Err(_) => BatchAnswer {
                    status: 502,
                    request_id,
                    retry_after,
                    body: Bytes::from_static(b"{\"error\":{\"message\":\"the answer broke off, or is too large\",\"type\":\"server_error\",\"param\":null,\"code\":null}}"),
                },
            }
        })
    }
}

/// Reads what an answer says that is an error.
async fn refused(status: StatusCode, headers: HeaderMap, body: axum::body::Body) -> Step {
    let text = web::read_capped(body, LONGEST_ERROR)
        .await
        .unwrap_or_default();
    let said = serde_json::from_slice::<Value>(&text).ok();
    let message = said
        .as_ref()
        .and_then(|said| said.get("error")?.as_str())
        .unwrap_or("the data plane said no");
    let wait = headers
        .get(RETRY_AFTER)
        .and_then(|wait| wait.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let refusal = |kind| Refusal::new(kind, message);
    Step::Ended(match status.as_u16() {
        // A limit of the caller's, or nobody to do it: neither is the job's fault.
        429 => Outcome::Later {
            why: refusal(ErrorKind::TooMany),
            after: wait,
        },
        503 => Outcome::Later {
            why: refusal(ErrorKind::Unavailable),
            after: None,
        },
        // It was there when the job was accepted: a server that has just started has not met its nodes yet.
        404 => Outcome::Later {
            why: refusal(ErrorKind::NotFound),
            after: None,
        },
        401 | 403 => Outcome::Failed(refusal(ErrorKind::Forbidden)),
        400..=499 => Outcome::Failed(refusal(ErrorKind::Invalid)),
        504 => Outcome::Again(refusal(ErrorKind::Timeout)),
        _ => Outcome::Again(refusal(ErrorKind::Upstream)),
    })
}
