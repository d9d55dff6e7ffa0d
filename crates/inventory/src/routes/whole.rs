//! What concerns the whole inventory: counts, the check, import and export.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use primitives::ErrorKind;
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};
use web::{AfterBody, JsonBody, Problem, QueryParams, read_capped};

use super::caller::{Reader, Writer};
use crate::check::CheckBody;
use crate::import::ImportBody;
use crate::import_lines::{Format, What};
use crate::list::ReadError;
use crate::refusal::CallError;
use crate::statistics::InventoryStatisticsBody;
use crate::surface::Inventory;

/// The most bytes of a part of an import.
const PART: usize = 16 << 20;
/// The longest time that it may take to arrive.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where a part of the check begins.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckQuery {
    /// The `next` of the part before.
    #[serde(default)]
    after: Option<i64>,
}

/// What lines are and how they are written.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct LinesQuery {
    /// How the lines are written; `jsonl` when absent.
    #[serde(default)]
    format: Format,
    /// What the lines are; `widgets` when absent. JSON lines of an import say by themselves what they are.
    #[serde(default)]
    what: What,
    /// The number of the first line of a part; 1 when absent. Refusals name lines by it.
    #[serde(default)]
    #[param(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_u32)]
    first_line: Option<u32>,
}

/// Lines, a widget or an association each.
#[derive(ToSchema)]
#[schema(value_type = String)]
#[expect(dead_code, reason = "describes a body that is no JSON")]
pub(super) struct Lines(String);

/// Counts widgets, slots and associations
///
/// The counts are kept for a minute.
#[utoipa::path(get, path = "/api/v1/inventory/statistics", operation_id = "show_inventory_statistics", tag = "inventory",
    security(("bearer" = [])), responses((status = 200, description = "The counts.", body = InventoryStatisticsBody)))]
pub(super) async fn show_inventory_statistics(
    _: Reader,
    State(inventory): State<Inventory>,
) -> Result<JsonBody<InventoryStatisticsBody>, Problem> {
    Ok(JsonBody(inventory.statistics().await?))
}

/// Checks one part of the inventory for associations that stand on one side only
#[utoipa::path(get, path = "/api/v1/inventory/check", operation_id = "check_inventory", tag = "inventory",
    params(CheckQuery), security(("bearer" = [])),
    responses((status = 200, description = "What was found.", body = CheckBody)))]
pub(super) async fn check_inventory(
    _: Reader,
    State(inventory): State<Inventory>,
    QueryParams(query): QueryParams<CheckQuery>,
) -> Result<JsonBody<CheckBody>, Problem> {
    Ok(JsonBody(
        inventory.check(query.after.unwrap_or_default()).await?,
    ))
}

/// Takes many widgets or associations in
///
/// A part of at most 50,000 lines and 16 MiB, which can be sent again: what is there already is counted, and no mistake. Widgets of a
/// part are made in one transaction.
#[utoipa::path(post, path = "/api/v1/inventory/import", operation_id = "import_inventory", tag = "inventory",
    params(LinesQuery), security(("bearer" = [])),
    request_body(content = Option<Lines>, content_type = "text/plain", description = "The lines; nothing is a part without lines."),
    responses((status = 200, description = "What became of each line.", body = ImportBody),
        (status = 413, description = "The part is too large.", body = Problem),
        (status = 503, description = "The part was not taken in, or not all of it: send it again after `Retry-After`.", body = Problem)))]
pub(super) async fn import_inventory(
    _: Writer,
    State(inventory): State<Inventory>,
    QueryParams(query): QueryParams<LinesQuery>,
    request: Request,
) -> Result<JsonBody<ImportBody>, Problem> {
    let again = request.extensions().get::<AfterBody>().cloned();
    let body = timeout(PATIENCE, read_capped(request.into_body(), PART))
        .await
        .map_err(|_| {
            Problem::new(
                ErrorKind::Timeout,
                "the part did not arrive in time: send it again",
            )
        })??;
    if let Some(problem) = again.and_then(|again| again.ask()) {
        return Err(problem);
    }
    let text = std::str::from_utf8(&body).map_err(|_| {
        Problem::new(
            ErrorKind::Invalid,
            "the lines are not UTF-8 text: convert the file first",
        )
    })?;
    let first_line = u64::from(query.first_line.unwrap_or(1));
    let imported = inventory.import(text, query.format, query.what, first_line);
    imported.await.map(JsonBody).map_err(problem)
}

/// Tells of a part that was not taken in, and when to send it again where that helps.
fn problem(error: ReadError) -> Problem {
    let wait = match &error {
        ReadError::Call(error) => error.retry_after(),
        ReadError::Store(error) => CallError::failed(error).retry_after(),
        _ => None,
    };
    let problem = Problem::from(error);
    match wait {
        None => problem,
        Some(wait) => {
            let text = format!(
                "{}: send the part again, in which what was made meanwhile is no mistake",
                problem.detail()
            );
            Problem::new(problem.kind(), text).retry_after(wait)
        }
    }
}

/// Writes all widgets or all associations out
///
/// Line by line, as an import takes them. Others go on changing the inventory meanwhile.
#[utoipa::path(get, path = "/api/v1/inventory/export", operation_id = "export_inventory", tag = "inventory",
    params(LinesQuery), security(("bearer" = [])),
    responses((status = 200, description = "The lines: `application/jsonl` or `text/csv`.")))]
pub(super) async fn export_inventory(
    _: Reader,
    State(inventory): State<Inventory>,
    QueryParams(query): QueryParams<LinesQuery>,
) -> Response {
    let content_type = match query.format {
        Format::Jsonl => "application/jsonl; charset=utf-8",
        Format::Csv => "text/csv; charset=utf-8",
    };
    let lines = inventory.export(query.format, query.what);
    let content_type = HeaderValue::from_static(content_type);
    ([(CONTENT_TYPE, content_type)], Body::from_stream(lines)).into_response()
}
