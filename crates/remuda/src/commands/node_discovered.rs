//! `remuda node discovered`: agents on the local network that belong nowhere.

use primitives::Timestamp;
use serde::Deserialize;

use super::context::Context;
use super::failure::Failure;
use crate::output::{Columns, ago, remark};

#[derive(Deserialize)]
struct Heard {
    listening: bool,
    items: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    code: String,
    host: String,
    version: String,
    target: String,
    addresses: Vec<String>,
    last_heard: Timestamp,
}

/// Lists them, and says how one is let in.
pub(super) async fn list(context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let heard = api.get("/api/v1/agents/discovered").await?;
    if context.out.is_json() {
        return Ok(context.out.json(&heard)?);
    }
    let heard: Heard = api.decode(heard)?;
    if !heard.listening {
        remark(
            "this Remuda does not listen: set discovery = true in [agents] of its configuration",
        );
        return Ok(());
    }
    let mut table = Columns::new(
        ["CODE", "HOST", "VERSION", "MADE FOR", "ADDRESSES", "HEARD"],
        "No agent is heard: start one with `remuda agent --announce`, on the same network.",
    )
    .dispensing_with(&["MADE FOR", "VERSION"]);
    let any = !heard.items.is_empty();
    for row in heard.items {
        table.row([
            row.code,
            row.host,
            row.version,
            row.target,
            row.addresses.join(", "),
            ago(row.last_heard, context.now()),
        ]);
    }
    table.print(context.out)?;
    if any {
        remark(
            "to let one in: `remuda node invite NAME`, and run the line on the machine that shows this code",
        );
    }
    Ok(())
}
