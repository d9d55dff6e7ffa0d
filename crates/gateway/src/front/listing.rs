//! The models of the whole fleet, in the dialect of whoever asks: `/api/tags`, `/api/ps`, `/v1/models`, `/api/version`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use dialects::{
    ApiError, LoadedEntry, ModelDetails, ModelEntry, Operation, ollama_ps, ollama_tags,
    ollama_version, openai_model, openai_models,
};
use http::{Method, Request, Response};
use identity::Principal;

use super::reply::Reply;
use super::{LingeringBody, Visit};
use crate::body::ReplyBody;
use crate::fleet_view::{Replica, Route, RouteTable};
use crate::splitting::SplitCaller;

/// What can be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    Version,
    Tags,
    Loaded,
    Models,
    Model(String),
}

impl Listing {
    /// Recognises a listing route.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let readable = matches!(*method, Method::GET | Method::HEAD);
        if !readable {
            return None;
        }
        match path {
            "/api/version" => Some(Self::Version),
            "/api/tags" => Some(Self::Tags),
            "/api/ps" => Some(Self::Loaded),
            "/v1/models" => Some(Self::Models),
            // Names such as `Qwen/Qwen2.5-7B` have slashes.
            _ => path
                .strip_prefix("/v1/models/")
                .filter(|name| !name.is_empty())
                .map(|name| Self::Model(percent_decoded(name))),
        }
    }
}

/// Answers a listing with what the caller may see.
#[expect(clippy::unused_async, reason = "the same shape as its siblings")]
pub(super) async fn answer(
    visit: &Visit<'_>,
    listing: Listing,
    principal: &Principal,
    _request: Request<LingeringBody>,
) -> Result<Response<ReplyBody>, ApiError> {
    let shared = &visit.worker.shared;
    let table = shared.routes.load();
    let body = match listing {
        Listing::Version => ollama_version(shared.version),
        Listing::Tags => ollama_tags(&entries(&table, principal)),
        Listing::Loaded => ollama_ps(&loaded(&table, principal)),
        Listing::Models => openai_models(&entries(&table, principal)),
        Listing::Model(name) => one(&table, principal, visit.peer.ip(), &name)?,
    };
    Ok(Reply::new(visit.id).whole("application/json; charset=utf-8", body))
}

/// Lists every model and alias once, with what its best-known replica says.
fn entries(table: &RouteTable, principal: &Principal) -> Vec<ModelEntry> {
    let mut all: BTreeMap<String, ModelEntry> = BTreeMap::new();
    for route in table.routes().filter(|r| principal.may_use(&r.name)) {
        if let Some(entry) = route_entry(route) {
            all.insert(entry.name.clone(), entry);
        }
    }
    for (alias, route) in table
        .aliases()
        .filter(|(a, r)| principal.may_use(a) || principal.may_use(&r.name))
    {
        if let Some(entry) = route_entry(route) {
            all.entry(alias.to_owned()).or_insert_with(|| ModelEntry {
                name: alias.to_owned(),
                ..entry
            });
        }
    }
    all.into_values().collect()
}

fn one(
    table: &RouteTable,
    principal: &Principal,
    address: IpAddr,
    name: &str,
) -> Result<Bytes, ApiError> {
    table
        .find(name, SplitCaller::new(principal, address))
        .map(|found| found.route)
        .filter(|route| principal.may_use(&route.name) || principal.may_use(name))
        .and_then(|route| route_entry(&route))
        .map(|entry| {
            openai_model(&ModelEntry {
                name: name.to_owned(),
                ..entry
            })
        })
        .ok_or_else(|| ApiError::model_not_found(Operation::OpenAiChat, name))
}

fn loaded(table: &RouteTable, principal: &Principal) -> Vec<LoadedEntry> {
    let mut all: BTreeMap<String, LoadedEntry> = BTreeMap::new();
    for route in table.routes().filter(|r| principal.may_use(&r.name)) {
        for replica in &route.replicas {
            let Some(memory) = &replica.model.loaded else {
                continue;
            };
            let entry = LoadedEntry {
                model: model_entry(replica),
                expires_at: memory.expires_at,
                size_vram: memory.vram_bytes.unwrap_or(0),
                context_length: memory.context.map_or(0, u64::from),
            };
            // One model in memory on several nodes is shown once, with the longest stay.
            all.entry(entry.model.name.clone())
                .and_modify(|known| {
                    if entry.expires_at > known.expires_at {
                        *known = entry.clone();
                    }
                })
                .or_insert(entry);
        }
    }
    all.into_values().collect()
}

fn route_entry(route: &Arc<Route>) -> Option<ModelEntry> {
    // The replica that tells most: a digest first, then any.
    let replica = route.replicas.iter().max_by_key(|r| {
        (
            r.node.view.is_routable(),
            r.model.digest.is_some(),
            r.model.size_bytes.is_some(),
        )
    })?;
    Some(model_entry(replica))
}

pub(crate) fn model_entry(replica: &Replica) -> ModelEntry {
    let model = &replica.model;
    ModelEntry {
        name: model.name.to_string(),
        digest: model.digest.as_deref().unwrap_or_default().to_owned(),
        size: model.size_bytes.unwrap_or(0),
        modified_at: model.modified_at.unwrap_or(replica.node.view.created_at),
        details: ModelDetails {
            parent_model: String::new(),
            format: model.details.format.clone(),
            family: model.details.family.clone(),
            parameter_size: model.details.parameter_size.clone(),
            quantization_level: model.details.quantization_level.clone(),
            context_length: model.context_length.map(u64::from),
            embedding_length: model.embedding_length.map(u64::from),
        },
        capabilities: capabilities(model),
        owner: Some(replica.node.view.owner_of(model).to_owned()),
    }
}

/// Servers of the OpenAI kind do not tell what a model can do; that they serve it means that it completes text.
fn capabilities(model: &cluster::ModelView) -> Vec<String> {
    if model.capabilities.is_empty() {
        vec!["completion".to_owned()]
    } else {
        model.capabilities.clone()
    }
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let pair = (byte == b'%').then(|| (ahead.next(), ahead.next()));
        if let Some((Some(high), Some(low))) = pair
            && let (Some(high), Some(low)) =
                ((high as char).to_digit(16), (low as char).to_digit(16))
        {
            out.push((high * 16 + low) as u8);
            bytes = ahead;
        } else {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_recognised_with_slashes_and_escapes() {
        let model = |path| Listing::of(&Method::GET, path);
        assert_eq!(model("/v1/models"), Some(Listing::Models));
        assert_eq!(
            model("/v1/models/Qwen/Q"),
            Some(Listing::Model("Qwen/Q".to_owned()))
        );
        assert_eq!(
            model("/v1/models/Qwen%2FQ%"),
            Some(Listing::Model("Qwen/Q%".to_owned()))
        );
        assert_eq!(model("/v1/models/"), None);
        assert_eq!(Listing::of(&Method::POST, "/api/tags"), None);
    }
}
