//! `POST /api/show`: from an Ollama node that has the model, else from what is known about it.

use std::sync::Arc;

use bytes::Bytes;
use cluster::{NodeKind, NodeView, ServerFlavour};
use dialects::{ApiError, Fields, Json, ModelDescription, Operation, ollama_show};
use http::{Method, Response};
use identity::Principal;

use super::call;
use crate::body::ReplyBody;
use crate::fleet_view::{Replica, RouteTable};
use crate::front::{Visit, listing::model_entry, reply::Reply};
use crate::splitting::SplitCaller;

/// Describes a model.
pub(super) async fn show(
    visit: &Visit<'_>,
    principal: &Principal,
    table: &RouteTable,
    (model, wanted): (&str, Option<&[String]>),
    body: Bytes,
) -> Result<Response<ReplyBody>, ApiError> {
    let not_found = || ApiError::model_not_found(Operation::OllamaChat, model);
    let route = table
        .find(model, SplitCaller::new(principal, visit.peer.ip()))
        .map(|found| found.route)
        .ok_or_else(not_found)?;
    if !principal.may_use(&route.name) && !principal.may_use(model) {
        return Err(not_found());
    }
    let is_wanted = |replica: &&Arc<Replica>| {
        let name = &*replica.node.view.name;
        wanted.is_none_or(|nodes| nodes.iter().any(|node| node == name))
    };
    let replicas = || route.replicas.iter().filter(is_wanted);
    let ollama = replicas().find(|r| is_ollama(&r.node.view) && r.node.view.is_routable());
    if let Some(replica) = ollama {
        let body = renamed(&body, &replica.model.name);
        let shown = call::once(visit, &replica.node, Method::POST, "/api/show", body).await?;
        return Ok(Reply::new(visit.id)
            .node(Some(&replica.node.view.name))
            .whole("application/json; charset=utf-8", shown));
    }
    let replica = replicas()
        .max_by_key(|r| r.node.view.is_routable())
        .ok_or_else(not_found)?;
    Ok(Reply::new(visit.id)
        .node(Some(&replica.node.view.name))
        .whole(
            "application/json; charset=utf-8",
            ollama_show(&description(visit, replica)),
        ))
}

/// Tells whether Ollama answers there, also through an agent beside it.
fn is_ollama(view: &NodeView) -> bool {
    view.kind == NodeKind::Ollama || view.server == ServerFlavour::Ollama
}

/// Puts the node's name for the model into the body, leaving the other fields as they are.
fn renamed(body: &Bytes, model: &str) -> Bytes {
    let Ok(mut fields) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body)
    else {
        return body.clone();
    };
    // Servers written in Go read `Model` and `model` alike, the last one counting.
    fields.retain(|key, _| !key.eq_ignore_ascii_case("model") && !key.eq_ignore_ascii_case("name"));
    fields.insert("model".to_owned(), model.into());
    serde_json::to_vec(&fields).map_or_else(|_| body.clone(), Bytes::from)
}

fn description(visit: &Visit<'_>, replica: &Replica) -> ModelDescription {
    let entry = model_entry(replica);
    let family = if entry.details.family.is_empty() {
        "unknown"
    } else {
        entry.details.family.as_str()
    };
    let mut info = Fields::default();
    let mut push = |name: String, value: String| {
        if let Some(json) = Json::parse(&value) {
            info.push(name, json);
        }
    };
    push(
        "general.architecture".to_owned(),
        serde_json::Value::from(family).to_string(),
    );
    push(
        "general.basename".to_owned(),
        serde_json::Value::from(entry.name.as_str()).to_string(),
    );
    if let Some(context) = entry.details.context_length {
        push(format!("{family}.context_length"), context.to_string());
    }
    if let Some(length) = entry.details.embedding_length {
        push(format!("{family}.embedding_length"), length.to_string());
    }
    let template = match replica.node.view.kind {
        NodeKind::Engine => visit.worker.shared.engine.as_ref().and_then(|engine| {
            engine
                .models()
                .into_iter()
                .find(|card| *card.name == *replica.model.name)
                .and_then(|card| card.chat_template)
        }),
        _ => None,
    };
    ModelDescription {
        model: entry,
        template,
        model_info: info,
        ..ModelDescription::default()
    }
}
