//! `remuda placement show`, `set` and `unset`.

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::commands::context::Context;
use crate::commands::failure::Failure;
use crate::output::Columns;

const POLICIES: &str = "/api/v1/placement/policies";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// Remuda does what is planned by itself.
    Auto,
    /// Remuda does it once `remuda placement apply` says so.
    Suggest,
    /// Nothing is planned.
    Off,
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Suggest => "suggest",
            Self::Off => "off",
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// The model, as nodes are asked for it.
    model: String,
    /// Who does what is planned.
    #[arg(long, default_value = "suggest")]
    mode: Mode,
    /// Nodes that have its files, at least.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    on_disk: u32,
    /// Nodes that have it in memory, at least.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    loaded: u32,
    /// Nodes that have it in memory at most, by demand. Without it: demand adds none.
    #[arg(long, value_name = "COUNT")]
    max_loaded: Option<u32>,
    /// A label that its nodes must have. Repeatable.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// The region that its nodes must be in.
    #[arg(long)]
    region: Option<String>,
    /// The GPU memory that its nodes must have in total, in GiB.
    #[arg(long, value_name = "GIB")]
    min_gpu_memory: Option<u64>,
    /// A node that has it whatever else is wanted, and keeps it. Repeatable.
    #[arg(long = "pin", value_name = "NODE")]
    pinned: Vec<String>,
    /// Keep it in memory on its pinned nodes, or on one node, whatever the demand.
    #[arg(long)]
    keep_warm: bool,
    /// Days after which an unused copy beyond those wanted may be deleted. Without it: every copy stays.
    #[arg(long, value_name = "DAYS")]
    retention_days: Option<u32>,
    /// The context to load it with, in tokens.
    #[arg(long, value_name = "TOKENS")]
    context: Option<u32>,
}

impl Set {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut body = json!({
            "mode": self.mode.as_str(), "min_on_disk": self.on_disk, "min_loaded": self.loaded,
            "tags": self.tags, "pinned": self.pinned, "keep_warm": self.keep_warm,
        });
        let optional = [
            ("max_loaded", self.max_loaded.map(Value::from)),
            ("region", self.region.map(Value::from)),
            (
                "min_gpu_memory_bytes",
                self.min_gpu_memory
                    .map(|gib| Value::from(gib.saturating_mul(1 << 30))),
            ),
            ("retention_days", self.retention_days.map(Value::from)),
            ("context", self.context.map(Value::from)),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        let set = context.api()?.put(&path(&self.model), &body).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&set)?);
        }
        let says = match self.mode {
            Mode::Auto => "it is done without asking",
            Mode::Suggest => "`remuda placement plan` shows what that takes",
            Mode::Off => "nothing is planned while its mode is off",
        };
        Ok(context.out.line(format!("{}: {says}.", self.model))?)
    }
}

#[derive(Deserialize)]
struct Items {
    items: Vec<PolicyRow>,
}

#[derive(Deserialize)]
struct PolicyRow {
    model: String,
    mode: String,
    min_on_disk: u32,
    min_loaded: u32,
    max_loaded: Option<u32>,
    tags: Vec<String>,
    region: Option<String>,
    pinned: Vec<String>,
    keep_warm: bool,
    retention_days: Option<u32>,
}

/// Shows what is wanted of models, or of one.
pub(super) async fn show(context: &Context, model: Option<&str>) -> Result<(), Failure> {
    let api = context.api()?;
    let found = match model {
        Some(model) => api.get(&path(model)).await?,
        None => api.get(POLICIES).await?,
    };
    if context.out.is_json() {
        return Ok(context.out.json(&found)?);
    }
    let rows = match model {
        Some(_) => vec![api.decode::<PolicyRow>(found)?],
        None => api.decode::<Items>(found)?.items,
    };
    let mut table = Columns::new(
        [
            "MODEL", "MODE", "ON DISK", "LOADED", "WHERE", "PINNED", "WARM", "KEPT",
        ],
        "Nothing is wanted of any model: say it with `remuda placement set MODEL`.",
    )
    .dispensing_with(&["KEPT", "WARM"]);
    for row in rows {
        let mut place = row.tags;
        place.extend(row.region);
        table.row([
            row.model,
            row.mode,
            row.min_on_disk.to_string(),
            match row.max_loaded {
                Some(most) => format!("{} to {most}", row.min_loaded),
                None => row.min_loaded.to_string(),
            },
            place.join(", "),
            row.pinned.join(", "),
            if row.keep_warm { "yes" } else { "no" }.to_owned(),
            row.retention_days
                .map_or("for good".to_owned(), |days| format!("{days} days")),
        ]);
    }
    Ok(table.print(context.out)?)
}

/// Wants nothing of a model any more.
pub(super) async fn unset(context: &Context, model: &str) -> Result<(), Failure> {
    context.api()?.delete(&path(model), None).await?;
    if context.out.is_json() {
        return Ok(context
            .out
            .json(&json!({"model": model, "wanted": false}))?);
    }
    Ok(context.out.line(format!(
        "Nothing is wanted of {model} any more; what is there stays as it is."
    ))?)
}

fn path(model: &str) -> String {
    let segment: String = url::form_urlencoded::byte_serialize(model.as_bytes()).collect();
    format!("{POLICIES}/{segment}")
}
