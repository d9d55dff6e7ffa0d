//! The database as the server sees it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::commands::context::Context;
use crate::commands::failure::Failure;
use crate::output::{Columns, bytes, rounded};

#[derive(Deserialize)]
struct Health {
    engine: String,
    server_version: String,
    size_bytes: u64,
    connections: u64,
    active: u64,
    blocked: u64,
    oldest_transaction_s: u64,
    cache_hit_ratio: Option<f64>,
    index_use_ratio: Option<f64>,
}

pub(super) async fn health(context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let answer = api.get("/api/v1/system/database").await?;
    if context.out.is_json() {
        return Ok(context.out.json(&answer)?);
    }
    let health: Health = api.decode(answer)?;
    let percent = |ratio: Option<f64>| {
        ratio.map_or_else(
            || "not counted".to_owned(),
            |ratio| format!("{} %", rounded(ratio * 100.0)),
        )
    };
    let mut table = Columns::new(["WHAT", "VALUE"], "Nothing is known.");
    for (what, value) in [
        (
            "engine",
            format!("{} {}", health.engine, health.server_version),
        ),
        ("size", bytes(health.size_bytes)),
        (
            "connections",
            format!(
                "{} ({} at work, {} waiting for locks)",
                health.connections, health.active, health.blocked
            ),
        ),
        (
            "longest transaction",
            format!("{} s", health.oldest_transaction_s),
        ),
        ("blocks found in memory", percent(health.cache_hit_ratio)),
        ("scans by an index", percent(health.index_use_ratio)),
    ] {
        table.row([what.to_owned(), value]);
    }
    Ok(table.print(context.out)?)
}

pub(super) async fn slow(context: &Context) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Found {
        available: bool,
        items: Vec<Slow>,
    }
    #[derive(Deserialize)]
    struct Slow {
        query: String,
        calls: u64,
        mean_ms: f64,
        max_ms: f64,
    }
    let api = context.api()?;
    let answer = api.get("/api/v1/system/database/slow-queries").await?;
    if context.out.is_json() {
        return Ok(context.out.json(&answer)?);
    }
    let found: Found = api.decode(answer)?;
    let empty = if found.available {
        "Nothing ran often enough to be counted."
    } else {
        "The database keeps no count of its statements: PostgreSQL does with the extension pg_stat_statements."
    };
    let mut table = Columns::new(["MEAN", "MOST", "CALLS", "STATEMENT"], empty);
    for slow in found.items {
        table.row([
            format!("{} ms", rounded(slow.mean_ms)),
            format!("{} ms", rounded(slow.max_ms)),
            slow.calls.to_string(),
            slow.query.split_whitespace().collect::<Vec<_>>().join(" "),
        ]);
    }
    Ok(table.print(context.out)?)
}

pub(super) async fn tables(context: &Context) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Found {
        items: Vec<Table>,
    }
    #[derive(Deserialize)]
    struct Table {
        name: String,
        rows: u64,
        size_bytes: u64,
        index_bytes: u64,
        dead_rows: Option<u64>,
    }
    let api = context.api()?;
    let answer = api.get("/api/v1/system/database/tables").await?;
    if context.out.is_json() {
        return Ok(context.out.json(&answer)?);
    }
    let size = |count: u64| {
        if count == 0 {
            String::new()
        } else {
            bytes(count)
        }
    };
    let mut table = Columns::new(
        ["TABLE", "ROWS", "SIZE", "INDEXES", "DEAD ROWS"],
        "No tables.",
    );
    for found in api.decode::<Found>(answer)?.items {
        table.row([
            found.name,
            found.rows.to_string(),
            size(found.size_bytes),
            size(found.index_bytes),
            found
                .dead_rows
                .map_or(String::new(), |rows| rows.to_string()),
        ]);
    }
    Ok(table.print(context.out)?)
}

/// Shows an object of counts, one a line; inner ones with the name of what they are in.
fn counts(context: &Context, answer: &Value) -> Result<(), Failure> {
    let mut table = Columns::new(["WHAT", "COUNT"], "Nothing.");
    let fields: BTreeMap<String, Value> =
        serde_json::from_value(answer.clone()).unwrap_or_default();
    for (name, value) in fields {
        match value {
            Value::Number(count) => table.row([name.replace('_', " "), count.to_string()]),
            Value::Object(inner) => {
                for (kind, count) in inner {
                    table.row([format!("{name}, {kind}"), count.to_string()]);
                }
            }
            _ => {}
        }
    }
    Ok(table.print(context.out)?)
}

pub(super) async fn stats(context: &Context) -> Result<(), Failure> {
    let answer = context.api()?.get("/api/v1/system/stats").await?;
    if context.out.is_json() {
        return Ok(context.out.json(&answer)?);
    }
    counts(context, &answer)
}

pub(super) async fn clean(context: &Context) -> Result<(), Failure> {
    let answer = context.api()?.poke("/api/v1/system/database/clean").await?;
    if context.out.is_json() {
        return Ok(context.out.json(&answer)?);
    }
    context.out.line("Removed:")?;
    counts(context, &answer)
}
