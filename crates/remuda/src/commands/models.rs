//! `remuda models`: what the whole fleet can run.

use std::collections::BTreeMap;

use clap::Args;
use cluster::model_key;
use primitives::Timestamp;
use serde::Deserialize;

use super::context::Context;
use super::failure::Failure;
use crate::client::{Api, query};
use crate::output::{Columns, ago, bytes};

/// Lists the models of the whole fleet.
#[derive(Debug, Args)]
#[command(after_long_help = "Administrators see on which nodes each model is.

Examples:
  remuda models
  remuda models --json | jq -r '.models[].name'")]
pub(super) struct Models {}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    details: Details,
    modified_at: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    family: String,
    parameter_size: String,
    quantization_level: String,
}

#[derive(Deserialize)]
struct Fleet {
    items: Vec<FleetModel>,
}

#[derive(Deserialize)]
struct FleetModel {
    key: String,
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    node: String,
    on_disk: bool,
    loaded: bool,
}

/// Which replicas of a model count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// All.
    Anywhere,
    /// Those in memory.
    InMemory,
}

impl Models {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let listed = api.get("/api/tags").await?;
        if context.out.is_json() {
            return Ok(context.out.json(&listed)?);
        }
        let places = places(&api, Held::Anywhere).await;
        let tags: Tags = api.decode(listed)?;
        let mut table = Columns::new(
            [
                "NAME",
                "FAMILY",
                "PARAMETERS",
                "QUANTISATION",
                "SIZE",
                "CHANGED",
                "NODES",
            ],
            "No models yet: fetch one with `remuda pull NAME`, or add a server with `remuda node add`.",
        )
        .dispensing_with(&["CHANGED", "FAMILY", "QUANTISATION", "PARAMETERS"]);
        for tag in tags.models {
            let nodes = places
                .get(model_key(&tag.name).as_ref())
                .map(|nodes: &Vec<String>| nodes.join(", "));
            table.row([
                tag.name,
                tag.details.family,
                tag.details.parameter_size,
                tag.details.quantization_level,
                if tag.size > 0 {
                    bytes(tag.size)
                } else {
                    String::new()
                },
                tag.modified_at
                    .map_or(String::new(), |time| ago(time, context.now())),
                nodes.unwrap_or_default(),
            ]);
        }
        Ok(table.print(context.out)?)
    }
}

/// Returns the nodes of each model as far as the caller may see them; without the right to, nothing.
pub(super) async fn places(api: &Api, held: Held) -> BTreeMap<String, Vec<String>> {
    if !api.is_signed_in() {
        return BTreeMap::new();
    }
    let Ok(fleet) = api
        .get(&query("/api/v1/models", &[("limit", Some("500"))]))
        .await
    else {
        return BTreeMap::new();
    };
    let Ok(page) = api.decode::<Fleet>(fleet) else {
        return BTreeMap::new();
    };
    page.items
        .into_iter()
        .map(|model| {
            let nodes = model
                .replicas
                .into_iter()
                .filter(|replica| match held {
                    Held::Anywhere => replica.on_disk,
                    Held::InMemory => replica.loaded,
                })
                .map(|replica| replica.node)
                .collect();
            (model.key, nodes)
        })
        .collect()
}
