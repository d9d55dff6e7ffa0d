//! `remuda setting`: settings that apply while the server runs.

use clap::{Args, Subcommand};
use primitives::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use crate::client::query;
use crate::output::{Columns, Tone, minute};

/// Shows and changes settings that apply while the server runs.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda setting list
  remuda setting set queue.batch 5000
  remuda setting reset queue.batch
  remuda setting history
  remuda setting rollback 3")]
pub(super) struct Setting {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all settings.
    #[command(visible_alias = "ls")]
    List,
    /// Set one; it applies at once.
    Set {
        /// Its name, as queue.batch.
        #[arg(value_name = "NAME")]
        key: String,
        /// What it is to be.
        value: String,
    },
    /// Have one be what the configuration file says.
    Reset {
        /// Its name, as queue.batch.
        #[arg(value_name = "NAME")]
        key: String,
    },
    /// List the changes, the newest first.
    History {
        /// How many to show.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// Make all settings what they were at a version.
    Rollback {
        /// The version, as `remuda setting history` shows it; 0 for none set.
        #[arg(value_name = "VERSION")]
        wanted: u32,
    },
}

#[derive(Deserialize)]
struct Config {
    settings: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    key: String,
    value: Value,
    default: Value,
    set: bool,
    description: String,
}

const PATH: &str = "/api/v1/system/config";

impl Setting {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self.action {
            Action::List => list(context).await,
            Action::Set { key, value } => {
                // What is a number is meant as one.
                let value = value
                    .parse::<i64>()
                    .map_or_else(|_| json!(value), |n| json!(n));
                change(context, &key, value).await
            }
            Action::Reset { key } => change(context, &key, Value::Null).await,
            Action::History { limit } => history(context, limit).await,
            Action::Rollback { wanted } => {
                let body = json!({"version": wanted});
                let path = "/api/v1/system/config/rollback";
                let config = context.api()?.post(path, &body).await?;
                told(context, &config)
            }
        }
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let config = api.get(PATH).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&config)?);
    }
    let mut table = Columns::new(["NAME", "VALUE", "OTHERWISE", "WHAT FOR"], "No settings.")
        .dispensing_with(&["WHAT FOR", "OTHERWISE"]);
    for row in api.decode::<Config>(config)?.settings {
        let otherwise = if row.set {
            plain(&row.default)
        } else {
            String::new()
        };
        let cells = [row.key, plain(&row.value), otherwise, row.description];
        if row.set {
            table.row_marked(1, Tone::Strong, cells);
        } else {
            table.row(cells);
        }
    }
    Ok(table.print(context.out)?)
}

async fn change(context: &Context, key: &str, value: Value) -> Result<(), Failure> {
    let body = json!({"config": {key: value}});
    let config = context.api()?.put(PATH, &body).await?;
    told(context, &config)
}

fn told(context: &Context, config: &Value) -> Result<(), Failure> {
    if context.out.is_json() {
        return Ok(context.out.json(config)?);
    }
    let version = config.get("version").and_then(Value::as_i64).unwrap_or(0);
    Ok(context
        .out
        .line(format!("The settings are at version {version} and apply."))?)
}

async fn history(context: &Context, limit: u32) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<Change>,
    }
    #[derive(Deserialize)]
    struct Change {
        version: i64,
        at: Timestamp,
        by: String,
        differences: Vec<Difference>,
    }
    #[derive(Deserialize)]
    struct Difference {
        key: String,
        new: Option<Value>,
    }
    let api = context.api()?;
    let limit = limit.to_string();
    let path = query("/api/v1/system/config/history", &[("limit", Some(&limit))]);
    let page = api.get(&path).await?;
    if context.out.is_json() {
        return Ok(context.out.json(&page)?);
    }
    let mut table = Columns::new(["VERSION", "WHEN", "WHO", "WHAT"], "Nothing was ever set.");
    for change in api.decode::<Page>(page)?.items {
        let what: Vec<String> = change
            .differences
            .iter()
            .map(|one| match &one.new {
                Some(value) => format!("{} = {}", one.key, plain(value)),
                None => format!("{} reset", one.key),
            })
            .collect();
        table.row([
            change.version.to_string(),
            minute(change.at),
            change.by,
            what.join(", "),
        ]);
    }
    Ok(table.print(context.out)?)
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
