//! `GET /api/v1/inventory/widgets` and what is below it.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{JsonBody, PageBody, PathParam, Problem, QueryParams, page_limit};

use super::caller::Reader;
use crate::graph::{ComponentBody, LARGEST_COMPONENT, PathBody};
use crate::list::{ReadError, WidgetBody, WidgetFilter};
use crate::model::Port;
use crate::surface::Inventory;

/// Which widgets to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct WidgetsQuery {
    /// Only those whose serial number begins so.
    #[serde(default)]
    prefix: Option<String>,
    /// Only those of this name.
    #[serde(default)]
    name: Option<String>,
    /// Only those with such a port.
    #[serde(default)]
    port: Option<Port>,
    /// Only those with such a port that is free.
    #[serde(default)]
    free: Option<Port>,
    /// Only those that are joined with something, or only those that are not.
    #[serde(default)]
    associated: Option<bool>,
    /// Items on the page, 1 to 500; 50 when absent. A page of a rare filter may have fewer, or none, and lead on.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A widget with the nodes that name it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WidgetWithNodes {
    #[serde(flatten)]
    widget: WidgetBody,
    /// The ids of the nodes that it is a part of.
    nodes: Vec<String>,
}

/// What is joined with a widget.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NeighboursBody {
    /// The widgets, each once.
    items: Vec<WidgetBody>,
}

/// How much of a component to show.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ComponentQuery {
    /// The most widgets, 1 to 10,000; 1,000 when absent.
    #[serde(default)]
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<u32>,
}

/// Between which widgets a way is looked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PathQuery {
    /// The serial number where it begins.
    from: String,
    /// The serial number where it ends.
    to: String,
}

/// Lists widgets, sorted by serial number
#[utoipa::path(get, path = "/api/v1/inventory/widgets", operation_id = "list_widgets", tag = "inventory",
    params(WidgetsQuery), security(("bearer" = [])),
    responses((status = 200, description = "A page of them.", body = PageBody<WidgetBody>)))]
pub(super) async fn list_widgets(
    _: Reader,
    State(inventory): State<Inventory>,
    QueryParams(query): QueryParams<WidgetsQuery>,
) -> Result<JsonBody<PageBody<WidgetBody>>, Problem> {
    let text = |text: Option<String>, name: &str| match text {
        Some(text) if text.contains('\0') || text.chars().count() > 1_000 => {
            Err(ReadError::Invalid(format!(
                "{name} must have at most 1000 characters, none of them NUL"
            )))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    };
    let filter = WidgetFilter {
        prefix: text(query.prefix, "prefix")?,
        name: text(query.name, "name")?,
        port: query.port,
        free: query.free,
        associated: query.associated,
    };
    let size = query.limit.unwrap_or(50);
    let page = inventory
        .list(&filter, query.cursor.as_deref(), size)
        .await?;
    Ok(JsonBody(page.into()))
}

/// Shows a widget, with its partners and the nodes that it is a part of
#[utoipa::path(get, path = "/api/v1/inventory/widgets/{serial}", operation_id = "show_widget", tag = "inventory",
    params(("serial" = String, Path, description = "The serial number.")), security(("bearer" = [])),
    responses((status = 200, description = "The widget.", body = WidgetWithNodes),
        (status = 404, description = "There is no such widget.", body = Problem)))]
pub(super) async fn show_widget(
    _: Reader,
    State(inventory): State<Inventory>,
    PathParam(serial): PathParam<String>,
) -> Result<JsonBody<WidgetWithNodes>, Problem> {
    let widget = inventory.widget(&serial).await?;
    let nodes = inventory.nodes_with(&serial).await?;
    Ok(JsonBody(WidgetWithNodes { widget, nodes }))
}

/// Lists the widgets that a widget is joined with
#[utoipa::path(get, path = "/api/v1/inventory/widgets/{serial}/neighbours", operation_id = "list_neighbours", tag = "inventory",
    params(("serial" = String, Path, description = "The serial number.")), security(("bearer" = [])),
    responses((status = 200, description = "Its partners.", body = NeighboursBody),
        (status = 404, description = "There is no such widget.", body = Problem)))]
pub(super) async fn list_neighbours(
    _: Reader,
    State(inventory): State<Inventory>,
    PathParam(serial): PathParam<String>,
) -> Result<JsonBody<NeighboursBody>, Problem> {
    let items = inventory.neighbours(&serial).await?;
    Ok(JsonBody(NeighboursBody { items }))
}

/// Shows everything that can be reached from a widget
#[utoipa::path(get, path = "/api/v1/inventory/widgets/{serial}/component", operation_id = "show_component", tag = "inventory",
    params(("serial" = String, Path, description = "The serial number."), ComponentQuery), security(("bearer" = [])),
    responses((status = 200, description = "What hangs together with it.", body = ComponentBody),
        (status = 404, description = "There is no such widget.", body = Problem)))]
pub(super) async fn show_component(
    _: Reader,
    State(inventory): State<Inventory>,
    PathParam(serial): PathParam<String>,
    QueryParams(query): QueryParams<ComponentQuery>,
) -> Result<JsonBody<ComponentBody>, Problem> {
    let limit = query.limit.unwrap_or(1_000);
    if !(1..=LARGEST_COMPONENT).contains(&limit) {
        let text = format!("limit must be 1 to {LARGEST_COMPONENT}");
        return Err(ReadError::Invalid(text).into());
    }
    Ok(JsonBody(inventory.component(&serial, limit).await?))
}

/// Finds the shortest way between two widgets
///
/// It looks at 50,000 widgets and ways of 1,000 steps at most.
#[utoipa::path(get, path = "/api/v1/inventory/path", operation_id = "find_path", tag = "inventory",
    params(PathQuery), security(("bearer" = [])),
    responses((status = 200, description = "The way, if there is one.", body = PathBody),
        (status = 404, description = "There is no such widget.", body = Problem)))]
pub(super) async fn find_path(
    _: Reader,
    State(inventory): State<Inventory>,
    QueryParams(query): QueryParams<PathQuery>,
) -> Result<JsonBody<PathBody>, Problem> {
    Ok(JsonBody(inventory.path(&query.from, &query.to).await?))
}
