//! `GET /api/v1/nodes`.

use axum::extract::State;
use identity::Admin;
use primitives::ErrorKind;
use serde::Deserialize;
use utoipa::IntoParams;
use web::{
    JsonBody, PageBody, PageQuery, Problem, QueryParams, page_limit, page_offset, search_text,
};

use super::body::NodeBody;
use super::name_page::{NameOrder, contains, name_page};
use crate::model::{NodeKind, NodeState, NodeView};
use crate::registry::Registry;

/// Which nodes to list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListNodesQuery {
    /// Nodes on the page, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Nodes to leave out at the start.
    #[serde(default, deserialize_with = "page_offset")]
    #[param(minimum = 0, maximum = 100_000)]
    offset: Option<u32>,
    /// The order; `name` when absent.
    #[serde(default)]
    #[param(inline)]
    sort: NameOrder,
    /// Only nodes with this in their name; case makes no difference.
    #[serde(default, deserialize_with = "search_text")]
    #[param(max_length = 100)]
    q: Option<String>,
    /// Only nodes in this state: `new`, `ready`, `busy`, `suspect`, `unhealthy` or `draining`.
    state: Option<String>,
    /// Only nodes of this kind: `ollama`, `openai`, `agent`, `engine` or `unknown`.
    kind: Option<String>,
    /// Only nodes with this tag.
    tag: Option<String>,
}

impl ListNodesQuery {
    fn check(&self) -> Result<(), Problem> {
        let invalid = |detail: String| Problem::new(ErrorKind::Invalid, detail);
        if let Some(state) = &self.state
            && !NodeState::NAMES.contains(&state.as_str())
        {
            return Err(invalid(format!(
                "state must be one of {}",
                NodeState::NAMES.join(", ")
            )));
        }
        if let Some(kind) = &self.kind
            && kind.parse::<NodeKind>().is_err()
        {
            return Err(invalid(
                "kind must be one of ollama, openai, agent, engine, unknown".to_owned(),
            ));
        }
        Ok(())
    }

    fn wants(&self, node: &NodeView) -> bool {
        self.state
            .as_ref()
            .is_none_or(|state| node.state.as_str() == state)
            && self
                .kind
                .as_ref()
                .is_none_or(|kind| node.kind.as_str() == kind)
            && self.tag.as_ref().is_none_or(|tag| node.tags.contains(tag))
            && contains(&node.name, self.q.as_deref())
    }
}

/// Lists the nodes by name.
#[utoipa::path(get, path = "/api/v1/nodes", operation_id = "list_nodes", tag = "nodes", security(("bearer" = [])),
    params(ListNodesQuery),
    responses(
        (status = 200, description = "A page of nodes.", body = PageBody<NodeBody>),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn list_nodes(
    _: Admin,
    State(registry): State<Registry>,
    QueryParams(query): QueryParams<ListNodesQuery>,
) -> Result<JsonBody<PageBody<NodeBody>>, Problem> {
    query.check()?;
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor.clone(),
        offset: query.offset,
    };
    let snapshot = registry.snapshot();
    let wanted = snapshot.nodes.iter().filter(|node| query.wants(node));
    let page = name_page(wanted, &page, query.sort, |node| &node.name)
        .map_err(|error| Problem::new(ErrorKind::Invalid, error.to_string()))?;
    Ok(JsonBody(page.map(|node| NodeBody::from(&**node))))
}
