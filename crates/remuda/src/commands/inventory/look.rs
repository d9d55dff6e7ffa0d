//! Looking at widgets.

use std::fmt::Write as _;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::context::Context;
use super::super::failure::Failure;
use super::super::id_path::id_path;
use crate::client::{Api, query};
use crate::output::{Columns, Tone, remark};

const WIDGETS: &str = "/api/v1/inventory/widgets";

/// Shows a widget.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Its serial number.
    serial: String,
    /// Also everything that can be reached from it, as far as this many widgets (1 to 10,000).
    #[arg(long, value_name = "COUNT")]
    component: Option<u32>,
}

/// Lists widgets.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those whose serial number begins so.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only those of this name.
    #[arg(long)]
    name: Option<String>,
    /// Only those with such a port (P, Q or R).
    #[arg(long)]
    port: Option<String>,
    /// Only those with such a port that is free.
    #[arg(long, value_name = "PORT")]
    free: Option<String>,
    /// Only those that are joined with something (true), or that are not (false).
    #[arg(long)]
    associated: Option<bool>,
    /// How many to show at least, where there are so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

/// Finds the shortest way between two widgets.
#[derive(Debug, Args)]
pub(super) struct Path {
    /// The serial number where it begins.
    from: String,
    /// The serial number where it ends.
    to: String,
}

/// What a node is made of.
#[derive(Debug, Args)]
pub(super) struct Hardware {
    /// The node's id (`remuda node list --json` shows it).
    node: String,
    /// The serial numbers of its parts, in place of those before.
    #[arg(long, value_name = "SERIAL", num_args = 0..)]
    set: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct WidgetRow {
    serial_number: String,
    name: String,
    slots: Vec<SlotRow>,
    #[serde(default)]
    nodes: Vec<String>,
}

#[derive(Deserialize)]
struct SlotRow {
    port: String,
    partner: Option<String>,
}

#[derive(Deserialize)]
struct Component {
    widgets: Vec<WidgetRow>,
    complete: bool,
}

impl WidgetRow {
    fn slots(&self) -> String {
        let slots: Vec<String> = self
            .slots
            .iter()
            .map(|slot| match &slot.partner {
                Some(partner) => format!("{}={partner}", slot.port),
                None => slot.port.clone(),
            })
            .collect();
        slots.join(" ")
    }
}

/// Puts a serial number behind the path of widgets.
fn path_of(serial: &str, below: &str) -> String {
    let mut path = format!("{WIDGETS}/");
    for byte in serial.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            path.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(path, "%{byte:02X}").ok();
        }
    }
    path.push_str(below);
    path
}

fn table(context: &Context, widgets: Vec<WidgetRow>, empty: &'static str) -> Result<(), Failure> {
    let mut table = Columns::new(["SERIAL", "NAME", "SLOTS"], empty);
    for widget in widgets {
        let slots = widget.slots();
        table.row([widget.serial_number, widget.name, slots]);
    }
    Ok(table.print(context.out)?)
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let mut widget = api.get(&path_of(&self.serial, "")).await?;
        let mut around = Value::Null;
        if let Some(limit) = self.component {
            let path = path_of(&self.serial, &format!("/component?limit={limit}"));
            around = api.get(&path).await?;
        }
        if context.out.is_json() {
            if let Some(fields) = widget.as_object_mut().filter(|_| !around.is_null()) {
                fields.insert("component".to_owned(), around);
            }
            return Ok(context.out.json(&widget)?);
        }
        let out = context.out;
        let widget: WidgetRow = api.decode(widget)?;
        out.line(format!("{}  {}", widget.serial_number, widget.name))?;
        for (number, slot) in (1..).zip(&widget.slots) {
            let joined = match &slot.partner {
                Some(partner) => format!("joined with {partner}"),
                None => out.paint(Tone::Faint, "free"),
            };
            out.line(format!("  slot {number}  {}  {joined}", slot.port))?;
        }
        for node in &widget.nodes {
            out.line(format!("  part of node {node}"))?;
        }
        if around.is_null() {
            return Ok(());
        }
        let component: Component = api.decode(around)?;
        let more = if component.complete { "" } else { " at least" };
        out.line(format!(
            "\n{}{more} hang together:",
            component.widgets.len()
        ))?;
        table(context, component.widgets, "")
    }
}

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<Value>,
            next_cursor: Option<String>,
        }
        let api = context.api()?;
        let associated = self.associated.map(|joined| joined.to_string());
        let mut items: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let missing = self.limit as usize - items.len();
            let limit = missing.min(500).to_string();
            let path = query(
                WIDGETS,
                &[
                    ("prefix", self.prefix.as_deref()),
                    ("name", self.name.as_deref()),
                    ("port", self.port.as_deref()),
                    ("free", self.free.as_deref()),
                    ("associated", associated.as_deref()),
                    ("limit", Some(&limit)),
                    ("cursor", cursor.as_deref()),
                ],
            );
            let page: Page = api.decode(api.get(&path).await?)?;
            items.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() || items.len() >= self.limit as usize {
                break;
            }
        }
        if context.out.is_json() {
            return Ok(context
                .out
                .json(&json!({"items": items, "next_cursor": cursor}))?);
        }
        let rows: Vec<WidgetRow> = api.decode(Value::Array(items))?;
        table(
            context,
            rows,
            "There are no such widgets (`remuda inventory add` makes one).",
        )?;
        if cursor.is_some() {
            remark("There are more: --limit shows them.");
        }
        Ok(())
    }
}

impl Path {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Way {
            found: bool,
            steps: Vec<StepRow>,
            complete: bool,
        }
        #[derive(Deserialize)]
        struct StepRow {
            from: String,
            to: String,
            port: String,
        }
        let api = context.api()?;
        let ends = [
            ("from", Some(self.from.as_str())),
            ("to", Some(self.to.as_str())),
        ];
        let way = api.get(&query("/api/v1/inventory/path", &ends)).await?;
        if context.out.is_json() {
            return Ok(context.out.json(&way)?);
        }
        let way: Way = api.decode(way)?;
        if !way.found {
            let how = if way.complete {
                "There is no way between the two."
            } else {
                "No way was found; not everything could be looked at."
            };
            return Err(Failure::Refused(how.to_owned()));
        }
        for step in &way.steps {
            context
                .out
                .line(format!("{} -{}- {}", step.from, step.port, step.to))?;
        }
        Ok(context.out.line(format!("{} steps", way.steps.len()))?)
    }
}

impl Hardware {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Parts {
            parts: Vec<WidgetRow>,
            missing: Vec<String>,
        }
        let api = context.api()?;
        let node = id_path(
            "/api/v1/nodes",
            &self.node,
            "a node",
            "remuda node list --json",
        )?;
        let path = format!("{node}/hardware");
        let shown = match &self.set {
            Some(parts) => api.put(&path, &json!({"parts": parts})).await?,
            None => api.get(&path).await?,
        };
        if context.out.is_json() {
            return Ok(context.out.json(&shown)?);
        }
        let shown: Parts = api.decode(shown)?;
        table(context, shown.parts, "The node names no parts.")?;
        for serial in &shown.missing {
            remark(&format!(
                "{serial} is named, but no widget has that serial number."
            ));
        }
        Ok(())
    }
}

/// Shows counts.
pub(super) async fn stats(context: &Context) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Counts {
        widgets: u64,
        ports: std::collections::BTreeMap<String, PortCounts>,
        widgets_by_associations: Vec<u64>,
    }
    #[derive(Deserialize)]
    struct PortCounts {
        slots: u64,
        free: u64,
        associations: u64,
    }
    let api = context.api()?;
    let counts = api.get("/api/v1/inventory/statistics").await?;
    if context.out.is_json() {
        return Ok(context.out.json(&counts)?);
    }
    let counts: Counts = api.decode(counts)?;
    let out = context.out;
    out.line(format!("{} widgets", counts.widgets))?;
    for (associations, widgets) in counts.widgets_by_associations.iter().enumerate() {
        out.line(format!("  {widgets} with {associations} associations"))?;
    }
    let mut table = Columns::new(["PORT", "SLOTS", "FREE", "ASSOCIATIONS"], "");
    for (port, counts) in counts.ports {
        table.row([
            port,
            counts.slots.to_string(),
            counts.free.to_string(),
            counts.associations.to_string(),
        ]);
    }
    Ok(table.print(out)?)
}

/// The most faults that are shown.
const MOST_FAULTS: usize = 10_000;

/// Checks the inventory, part by part.
pub(super) async fn check(context: &Context) -> Result<(), Failure> {
    let api: Api = context.api()?;
    let (mut checked, mut faults) = (0, Vec::new());
    let mut after = 0_i64;
    let complete = loop {
        let part = api
            .get(&format!("/api/v1/inventory/check?after={after}"))
            .await?;
        checked += part["checked"].as_u64().unwrap_or_default();
        faults.extend(part["faults"].as_array().into_iter().flatten().cloned());
        match part["next"].as_i64() {
            None => break true,
            Some(_) if faults.len() >= MOST_FAULTS => break false,
            Some(next) => after = next,
        }
    };
    if context.out.is_json() {
        context
            .out
            .json(&json!({"checked": checked, "faults": faults, "complete": complete}))?;
    } else {
        for fault in &faults {
            let slot = &fault["slot"];
            let serial = fault["serial_number"].as_str().unwrap_or_default();
            context.out.line(format!(
                "{serial}: slot {slot} names widget number {}, which does not name it",
                fault["partner_id"]
            ))?;
        }
        context.out.line(format!(
            "{checked} widgets checked, {} faults{}.",
            faults.len(),
            if complete {
                ""
            } else {
                "; the rest was not looked at"
            }
        ))?;
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}
