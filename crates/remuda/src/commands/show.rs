//! `remuda show`: one model.

use clap::Args;
use primitives::Timestamp;
use serde_json::{Value, json};

use super::context::Context;
use super::failure::Failure;
use crate::client::query;
use crate::output::{Output, Tone, minute};

/// Shows one model: architecture, context, capabilities, parameters, template.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  remuda show llama3.2
  remuda show llama3.2 --template
  remuda show llama3.2 --node gpu1")]
pub(super) struct Show {
    /// The model.
    model: String,
    /// Show the chat template only.
    #[arg(long, conflicts_with_all = ["parameters", "system"])]
    template: bool,
    /// Show the parameters only.
    #[arg(long, conflicts_with = "system")]
    parameters: bool,
    /// Show the system message only.
    #[arg(long)]
    system: bool,
    /// The node whose model is shown.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let out = context.out;
        let model = context
            .api()?
            .post(
                &query("/api/show", &[("node", self.node.as_deref())]),
                &json!({"model": self.model}),
            )
            .await?;
        if out.is_json() {
            return Ok(out.json(&model)?);
        }
        for (wanted, part) in [
            (self.template, "template"),
            (self.parameters, "parameters"),
            (self.system, "system"),
        ] {
            if wanted {
                return Ok(out.line(text(&model, part).unwrap_or_default())?);
            }
        }
        out.line(out.paint(Tone::Strong, &self.model))?;
        facts(out, &model)?;
        for part in ["parameters", "system", "license"] {
            if let Some(text) = text(&model, part).filter(|text| !text.trim().is_empty()) {
                out.line(format!("\n{}", out.paint(Tone::Strong, part)))?;
                for line in text.lines().take(20) {
                    out.line(format!("  {line}"))?;
                }
            }
        }
        Ok(())
    }
}

fn facts(out: Output, model: &Value) -> Result<(), Failure> {
    let architecture = model
        .pointer("/model_info/general.architecture")
        .and_then(Value::as_str);
    let of_architecture = |key: &str| {
        let name = format!("{}.{key}", architecture?);
        model.get("model_info")?.get(name).map(Value::to_string)
    };
    let detail = |key: &str| {
        model
            .pointer(&format!("/details/{key}"))
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let capabilities = model
        .get("capabilities")
        .and_then(Value::as_array)
        .map(|list| {
            list.iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        });
    for (label, value) in [
        (
            "architecture",
            architecture
                .filter(|name| *name != "unknown")
                .map(str::to_owned)
                .or_else(|| detail("family")),
        ),
        ("parameters", detail("parameter_size")),
        ("quantisation", detail("quantization_level")),
        ("format", detail("format")),
        ("context length", of_architecture("context_length")),
        ("embedding length", of_architecture("embedding_length")),
        ("capabilities", capabilities),
        (
            "changed",
            text(model, "modified_at")
                .map(|time| Timestamp::parse_rfc3339(time).map_or(time.to_owned(), minute)),
        ),
    ] {
        if let Some(value) = value {
            out.line(format!("  {label:<18}{value}"))?;
        }
    }
    Ok(())
}

fn text<'a>(model: &'a Value, part: &str) -> Option<&'a str> {
    model.get(part).and_then(Value::as_str)
}
