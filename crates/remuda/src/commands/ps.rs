//! `remuda ps`: what is in memory now.

use std::time::Duration;

use clap::Args;
use cluster::model_key;
use primitives::Timestamp;
use serde::Deserialize;

use super::context::Context;
use super::failure::Failure;
use super::models::{Held, places};
use crate::output::{Columns, ahead, bytes};

/// Servers that never unload a model by themselves name a time that nobody will see.
const FOR_EVER: Duration = Duration::from_hours(2 * 365 * 24);

/// Lists the models that are in memory now.
#[derive(Debug, Args)]
pub(super) struct Ps {}

#[derive(Deserialize)]
struct Running {
    #[serde(default)]
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    size_vram: u64,
    #[serde(default)]
    context_length: u64,
    expires_at: Option<Timestamp>,
    #[serde(alias = "node_name")]
    node: Option<String>,
}

impl Ps {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let running = api.get("/api/ps").await?;
        if context.out.is_json() {
            return Ok(context.out.json(&running)?);
        }
        let places = places(&api, Held::InMemory).await;
        let running: Running = api.decode(running)?;
        let mut table = Columns::new(
            ["NAME", "SIZE", "PROCESSOR", "CONTEXT", "NODE", "UNTIL"],
            "No model is in memory. One is loaded by its first request.",
        )
        .dispensing_with(&["PROCESSOR", "CONTEXT"]);
        for model in running.models {
            let until = model.expires_at.map_or(String::new(), |time| {
                if time.since(context.now()) > FOR_EVER {
                    "it is unloaded".to_owned()
                } else {
                    ahead(time, context.now())
                }
            });
            let node = model.node.or_else(|| {
                let nodes = places.get(model_key(&model.name).as_ref())?;
                Some(nodes.join(", "))
            });
            table.row([
                model.name,
                if model.size > 0 {
                    bytes(model.size)
                } else {
                    String::new()
                },
                processor(model.size, model.size_vram),
                if model.context_length > 0 {
                    model.context_length.to_string()
                } else {
                    String::new()
                },
                node.unwrap_or_default(),
                until,
            ]);
        }
        Ok(table.print(context.out)?)
    }
}

fn processor(size: u64, vram: u64) -> String {
    match (size, vram) {
        (0, _) => String::new(),
        (_, 0) => "CPU".to_owned(),
        (size, vram) if vram >= size => "GPU".to_owned(),
        (size, vram) => format!("{} % GPU", vram * 100 / size),
    }
}
