//! The id of the request in progress, so that every problem and log line can name it.

use std::future::Future;

tokio::task_local! {
    static CURRENT: String;
}

/// The response header that carries the request's id.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// Runs `work` with `id` as the id of the request in progress.
pub async fn with_request_id<F: Future>(id: String, work: F) -> F::Output {
    CURRENT.scope(id, work).await
}

/// Returns the id of the request in progress, when there is one.
pub fn current_request_id() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}
