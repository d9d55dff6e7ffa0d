//! `GET /api/v1/nodes`.

use axum::extract::State;
use identity::Admin;
use primitives::ErrorKind;
use serde::Deserialize;
use utoipa::IntoParams;
use web::{JsonBody, PageBody, PageQuery, Problem, QueryParams};

use super::body::NodeBody;
use crate::model::{NodeKind, NodeState, NodeView};
use crate::registry::Registry;

/// Which nodes to list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListNodesQuery {
    /// Nodes on the page, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
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
    }
}

/// Lists the nodes by name.
#[utoipa::path(get, path = "/api/v1/nodes", operation_id = "list_nodes", tag = "nodes", security(("bearer" = [])),
    params(ListNodesQuery),
    responses(
        (status = 200, description = "A page of nodes.", body = PageBody<NodeBody>),
        (status = "4XX", description = "The query is not valid.", body = Problem),
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
    };
    let after = page
        .after()
        .map_err(|error| Problem::new(ErrorKind::Invalid, error.to_string()))?;
    let nodes = registry
        .snapshot()
        .nodes
        .iter()
        .filter(|node| after.as_deref().is_none_or(|after| &*node.name > after))
        .filter(|node| query.wants(node))
        .take(page.size() as usize + 1)
        .map(|node| NodeBody::from(&**node))
        .collect();
    Ok(JsonBody(PageBody::from_overfetched(
        nodes,
        page.size(),
        |node| node.name.clone(),
    )))
}
