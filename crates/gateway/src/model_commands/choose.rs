//! Chooses the nodes that a model command goes to. Pure.

use std::sync::Arc;
use std::time::Duration;

use cluster::NodeKind;
use dialects::{ApiError, Operation};
use primitives::ErrorKind;

use crate::fleet_view::{RouteNode, RouteTable};

/// Nodes that were away are probed again within this time.
const PROBED: Duration = Duration::from_secs(10);

/// Reads `?node=a,b`. `all` stands for every node that can.
pub(super) fn wanted_nodes(query: Option<&str>) -> Option<Vec<String>> {
    let value = url::form_urlencoded::parse(query?.as_bytes())
        .find(|(key, _)| key == "node")?
        .1;
    let names: Vec<String> = value
        .split(',')
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect();
    (!names.is_empty()).then_some(names)
}

/// Returns the nodes that manage models: Ollama servers that are up, or exactly the named ones.
fn managing(
    table: &RouteTable,
    wanted: Option<&[String]>,
) -> Result<Vec<Arc<RouteNode>>, ApiError> {
    let able =
        |node: &&Arc<RouteNode>| matches!(node.view.kind, NodeKind::Ollama | NodeKind::Agent);
    match wanted {
        Some(names) if names.iter().all(|n| n != "all") => names
            .iter()
            .map(|name| {
                let node = table.find_node(name).ok_or_else(|| {
                    ApiError::new(
                        ErrorKind::NotFound,
                        format!("there is no node {name}: see `remuda node list`"),
                    )
                })?;
                if !able(&node) {
                    return Err(ApiError::new(
                        ErrorKind::Unsupported,
                        format!("node {name} does not manage models: only Ollama nodes do"),
                    ));
                }
                Ok(node.clone())
            })
            .collect(),
        _ => Ok(table
            .nodes
            .iter()
            .filter(able)
            .filter(|node| node.view.is_routable())
            .cloned()
            .collect()),
    }
}

fn nobody() -> ApiError {
    ApiError::new(
        ErrorKind::Unavailable,
        "no Ollama node is up that could do this: add one with `remuda node add`",
    )
    .with_retry_after(PROBED)
}

/// Where a pull goes: to those who have the model, else to the node that holds least.
pub(super) fn for_pull(
    table: &RouteTable,
    wanted: Option<&[String]>,
    model: &str,
) -> Result<Vec<Arc<RouteNode>>, ApiError> {
    let nodes = managing(table, wanted)?;
    if wanted.is_some() {
        return if nodes.is_empty() {
            Err(nobody())
        } else {
            Ok(nodes)
        };
    }
    let key = cluster::model_key(model).into_owned();
    let holders: Vec<_> = nodes
        .iter()
        .filter(|node| table.has_replica(node.view.id, &key))
        .cloned()
        .collect();
    if !holders.is_empty() {
        return Ok(holders);
    }
    let stored =
        |node: &RouteNode| -> u64 { node.view.models.iter().filter_map(|m| m.size_bytes).sum() };
    nodes
        .into_iter()
        .min_by_key(|node| stored(node))
        .map(|node| vec![node])
        .ok_or_else(nobody)
}

/// All nodes that have a model.
pub(super) fn holders(
    table: &RouteTable,
    wanted: Option<&[String]>,
    model: &str,
) -> Result<Vec<Arc<RouteNode>>, ApiError> {
    let key = table.resolve_alias(model);
    let nodes: Vec<_> = managing(table, wanted)?
        .into_iter()
        .filter(|node| table.has_replica(node.view.id, &key))
        .collect();
    if nodes.is_empty() {
        return Err(without_manager(table, model, &key));
    }
    Ok(nodes)
}

/// Says why no node can do something about a model: there is none of that name, or those that have it do not manage models.
fn without_manager(table: &RouteTable, model: &str, key: &str) -> ApiError {
    let having = |node: &&Arc<RouteNode>| table.has_replica(node.view.id, key);
    let names: Vec<&str> = table
        .nodes
        .iter()
        .filter(having)
        .map(|node| &*node.view.name)
        .collect();
    if names.is_empty() {
        return ApiError::model_not_found(Operation::OllamaChat, model);
    }
    ApiError::new(
        ErrorKind::Unsupported,
        format!(
            "model '{model}' is on {}, where models are not managed from here: change it there",
            names.join(", ")
        ),
    )
}

/// One node that has a model.
pub(super) fn holder(
    table: &RouteTable,
    wanted: Option<&[String]>,
    model: &str,
) -> Result<Vec<Arc<RouteNode>>, ApiError> {
    holders(table, wanted, model).map(|mut nodes| {
        nodes.truncate(1);
        nodes
    })
}

/// The node on which models are made: one that has the base model, else the same one that takes blobs.
pub(super) fn for_create(
    table: &RouteTable,
    wanted: Option<&[String]>,
    from: Option<&str>,
) -> Result<Vec<Arc<RouteNode>>, ApiError> {
    match from {
        Some(from) if wanted.is_none() => holder(table, None, from),
        _ => for_blobs(table, wanted).map(|node| vec![node]),
    }
}

/// The node that takes blobs. A model must be made where its blobs are, so it is always the same one: the first by name
/// among those that are up, or the one that was named.
pub(super) fn for_blobs(
    table: &RouteTable,
    wanted: Option<&[String]>,
) -> Result<Arc<RouteNode>, ApiError> {
    managing(table, wanted)?
        .into_iter()
        .min_by(|a, b| a.view.name.cmp(&b.view.name))
        .ok_or_else(nobody)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_lists_are_read_from_the_query() {
        assert_eq!(
            wanted_nodes(Some("x=1&node=a, b,")),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(wanted_nodes(Some("node=")), None);
        assert_eq!(wanted_nodes(None), None);
    }
}
