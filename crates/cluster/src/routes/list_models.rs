//! `GET /api/v1/models`.

use axum::extract::State;
use identity::Admin;
use primitives::{ErrorKind, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use web::{
    JsonBody, PageBody, PageQuery, Problem, QueryParams, page_limit, page_offset, search_text,
};

use super::name_page::{NameOrder, name_page};
use crate::model::{ModelDetails, ModelView, NodeView};
use crate::placement::replica_notes::{ReplicaNote, ReplicaNotes};
use crate::registry::Registry;
use crate::snapshot::FleetSnapshot;

/// A model of the fleet.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct FleetModelBody {
    /// Its name, as the first node that has it writes it.
    #[schema(example = "llama3.2:3b")]
    name: String,
    /// The name under which all spellings of it count as one.
    key: String,
    /// The size of its files in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    /// Family, size and quantisation.
    details: ModelDetails,
    /// The largest context any node gives it, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u32>,
    /// The name of its licence, where a node tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "llama3.2")]
    license: Option<String>,
    /// What it can do.
    capabilities: Vec<String>,
    /// Whether the nodes have different files under this name.
    digests_differ: bool,
    /// Calls that all nodes have answered with it.
    requests: u64,
    /// When the last of them ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used: Option<Timestamp>,
    /// The nodes that have it, are getting it, or could not get it lately.
    replicas: Vec<ReplicaBody>,
}

/// A model at one node.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ReplicaBody {
    /// The node's name.
    node: String,
    /// The node's id.
    node_id: String,
    /// The node's state.
    state: &'static str,
    /// Whether its files are there.
    on_disk: bool,
    /// Whether the model is in the node's memory.
    loaded: bool,
    /// The context it is loaded with, or could be, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<u32>,
    /// The size of its files in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    /// The digest of its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// When its files changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    modified_at: Option<Timestamp>,
    /// How far its files have come, while placement has them fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    syncing: Option<SyncBody>,
    /// Why the last action of placement with it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    /// Calls that it has answered here, as far as they are counted by now.
    requests: u64,
    /// When the last of them ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used: Option<Timestamp>,
}

/// How far files have come.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct SyncBody {
    /// Bytes that are there.
    done_bytes: u64,
    /// Bytes in all, as far as is known; 0 when nothing is.
    total_bytes: u64,
}

/// Which models to list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListModelsQuery {
    /// Models on the page, 1 to 500; 50 when absent.
    #[serde(default, deserialize_with = "page_limit")]
    #[param(minimum = 1, maximum = 500, example = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Models to leave out at the start.
    #[serde(default, deserialize_with = "page_offset")]
    #[param(minimum = 0, maximum = 100_000)]
    offset: Option<u32>,
    /// The order; `name` when absent.
    #[serde(default)]
    #[param(inline)]
    sort: NameOrder,
    /// Only models of which each of these words stands in the name, the family, the size or quantisation, what it can do, or the
    /// name of a node that has it; case makes no difference.
    #[serde(default, deserialize_with = "search_text")]
    #[param(max_length = 100)]
    q: Option<String>,
}

/// Lists the models of all nodes, each once, with the nodes that have it.
#[utoipa::path(get, path = "/api/v1/models", operation_id = "list_models", tag = "models", security(("bearer" = [])),
    params(ListModelsQuery),
    responses(
        (status = 200, description = "A page of models, by name.", body = PageBody<FleetModelBody>),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn list_models(
    _: Admin,
    State(registry): State<Registry>,
    QueryParams(query): QueryParams<ListModelsQuery>,
) -> Result<JsonBody<PageBody<FleetModelBody>>, Problem> {
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
        offset: query.offset,
    };
    let (snapshot, notes) = (registry.snapshot(), registry.notes());
    let keys = snapshot.by_model.keys();
    let words = words(query.q.as_deref());
    let wanted = keys.filter(|key| has_words(&snapshot, key, &words));
    let PageBody {
        items,
        next_cursor,
        total,
    } = name_page(wanted, &page, query.sort, |key| key)
        .map_err(|error| Problem::new(ErrorKind::Invalid, error.to_string()))?;
    let items = items
        .into_iter()
        .filter_map(|key| fleet_model(&snapshot, &notes, key));
    Ok(JsonBody(PageBody {
        items: items.collect(),
        next_cursor,
        total,
    }))
}

/// Returns what is searched for, word by word.
fn words(wanted: Option<&str>) -> Vec<String> {
    let wanted = wanted.unwrap_or_default().to_lowercase();
    wanted.split_whitespace().map(str::to_owned).collect()
}

/// Tells whether each word stands somewhere in what is told of a model.
fn has_words(snapshot: &FleetSnapshot, key: &str, words: &[String]) -> bool {
    if words.iter().all(|word| key.contains(word.as_str())) {
        return true;
    }
    let mut told = vec![key.to_lowercase()];
    for replica in snapshot.by_model.get(key).into_iter().flatten() {
        let Some((node, model)) = snapshot.resolve(*replica) else {
            continue;
        };
        let details = &model.details;
        let texts = [
            &*model.name,
            &details.format,
            &details.family,
            &details.parameter_size,
            &details.quantization_level,
            &*node.name,
        ];
        told.extend(texts.iter().map(|text| text.to_lowercase()));
        let lists = details.families.iter().chain(&model.capabilities);
        told.extend(lists.map(|text| text.to_lowercase()));
    }
    words
        .iter()
        .all(|word| told.iter().any(|text| text.contains(word.as_str())))
}

/// Describes a model by its normalised name. `None`: no node has it.
pub(super) fn fleet_model(
    snapshot: &FleetSnapshot,
    notes: &ReplicaNotes,
    key: &str,
) -> Option<FleetModelBody> {
    let replicas = snapshot.by_model.get(key)?;
    let (_, first) = snapshot.resolve(*replicas.first()?)?;
    let views = || {
        replicas
            .iter()
            .filter_map(|replica| snapshot.resolve(*replica))
    };
    let richest = views()
        .map(|(_, model)| model)
        .find(|model| !model.capabilities.is_empty())
        .unwrap_or(first);
    let mut digests = views().filter_map(|(_, model)| model.digest.as_ref());
    let any_digest = digests.next();
    let mut bodies: Vec<ReplicaBody> = views()
        .map(|(node, model)| replica_body(node, Some(model), notes.find(key, node.id)))
        .collect();
    for (node, note) in notes.fetching(key) {
        let is_there = views().any(|(other, _)| other.id == node);
        if let Some(node) = snapshot.find_node(node).filter(|_| !is_there) {
            bodies.push(replica_body(node, None, Some(note)));
        }
    }
    Some(FleetModelBody {
        name: first.name.to_string(),
        key: key.to_owned(),
        size_bytes: views().find_map(|(_, model)| model.size_bytes),
        details: richest.details.clone(),
        context_length: views().filter_map(|(_, model)| model.context_length).max(),
        license: views().find_map(|(_, model)| model.license.as_deref().map(str::to_owned)),
        capabilities: richest.capabilities.clone(),
        digests_differ: digests.any(|digest| Some(digest) != any_digest),
        requests: bodies
            .iter()
            .map(|replica| replica.requests)
            .fold(0, u64::saturating_add),
        last_used: bodies.iter().filter_map(|replica| replica.last_used).max(),
        replicas: bodies,
    })
}

fn replica_body(
    node: &NodeView,
    model: Option<&ModelView>,
    told: Option<&ReplicaNote>,
) -> ReplicaBody {
    let loaded = model.and_then(|model| model.loaded);
    ReplicaBody {
        node: node.name.to_string(),
        node_id: node.id.to_string(),
        state: node.state.as_str(),
        on_disk: model.is_some(),
        loaded: loaded.is_some(),
        context: loaded
            .and_then(|loaded| loaded.context)
            .or(model.and_then(|model| model.context_length)),
        size_bytes: model.and_then(|model| model.size_bytes),
        digest: model.and_then(|model| model.digest.as_deref().map(str::to_owned)),
        modified_at: model.and_then(|model| model.modified_at),
        syncing: told
            .and_then(|note| note.syncing)
            .map(|(done_bytes, total_bytes)| SyncBody {
                done_bytes,
                total_bytes,
            }),
        failed: told.and_then(|note| note.failed.as_ref().map(|(why, _)| why.clone())),
        requests: told.map_or(0, |note| note.requests),
        last_used: told.and_then(|note| note.last_used),
    }
}
