//! All SQL of request records.

use std::time::Duration;

use primitives::{COUNTED, KeyId, NodeId, RequestId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use store::{
    Bulk, BulkColumn, ColumnType, Db, Durability, Engine, Existing, Json, JsonText, Params, Row,
    StoreError, params,
};

use crate::record::RequestRecord;

const COLUMNS: &[BulkColumn] = &[
    BulkColumn::new("id", ColumnType::Text),
    BulkColumn::new("received_at", ColumnType::I64),
    BulkColumn::new("principal_kind", ColumnType::Text),
    BulkColumn::new("principal_id", ColumnType::Text),
    BulkColumn::new("principal_name", ColumnType::Text),
    BulkColumn::new("client_address", ColumnType::Text),
    BulkColumn::new("dialect", ColumnType::Text),
    BulkColumn::new("operation", ColumnType::Text),
    BulkColumn::new("requested_model", ColumnType::Text),
    BulkColumn::new("model", ColumnType::Text),
    BulkColumn::new("node_id", ColumnType::Text),
    BulkColumn::new("node_name", ColumnType::Text),
    BulkColumn::new("status", ColumnType::I64),
    BulkColumn::new("outcome", ColumnType::Text),
    BulkColumn::new("error", ColumnType::Text),
    BulkColumn::new("stream", ColumnType::Bool),
    BulkColumn::new("continued", ColumnType::I64),
    BulkColumn::new("retries", ColumnType::I64),
    BulkColumn::new("queue_us", ColumnType::I64),
    BulkColumn::new("first_token_us", ColumnType::I64),
    BulkColumn::new("total_us", ColumnType::I64),
    BulkColumn::new("prompt_tokens", ColumnType::I64),
    BulkColumn::new("completion_tokens", ColumnType::I64),
    BulkColumn::new("policy", ColumnType::Text),
    BulkColumn::new("decision", ColumnType::Json),
    BulkColumn::new("split", ColumnType::Json),
];

/// A batch that was written but not confirmed is sent again: rows that are there already stay.
const INSERT: Bulk = Bulk {
    table: "requests",
    columns: COLUMNS,
    existing: Existing::Stays,
};

/// Writes a batch of records in one transaction. SQLite, whose work is done on our cores, is given `piece` of them at a time.
pub(crate) async fn insert_records(
    db: &Db,
    records: &[RequestRecord],
    piece: usize,
) -> Result<(), StoreError> {
    let piece = match db.engine() {
        Engine::Sqlite => piece.max(1),
        Engine::Postgres => records.len().max(1),
    };
    let mut tx = db.write_with(Durability::Relaxed).await?;
    for records in records.chunks(piece) {
        let rows: Vec<Params> = records.iter().map(row).collect();
        tx.insert_many(&INSERT, &rows).await?;
    }
    tx.commit().await
}

fn row(r: &RequestRecord) -> Params {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let attempts = JsonText::of(&r.attempts).unwrap_or_else(|_| JsonText::empty_array());
    let split = r
        .split
        .as_ref()
        .and_then(|split| JsonText::of(&**split).ok());
    params![
        r.id,
        r.received_at,
        r.caller.kind(),
        r.caller.id(),
        &r.caller_name,
        r.client_address.to_string(),
        r.dialect,
        r.operation,
        &r.requested_model,
        r.model.clone(),
        r.node.as_ref().map(|(id, _)| *id),
        r.node.as_ref().map(|(_, name)| name.clone()),
        i64::from(r.status),
        r.outcome.as_str(),
        r.error.clone(),
        r.stream,
        i64::from(r.continued),
        i64::from(r.retries),
        number(r.queue_us),
        r.first_token_us.map(number),
        number(r.total_us),
        number(r.prompt_tokens),
        number(r.completion_tokens),
        r.policy,
        attempts,
        split,
    ]
}

/// Deletes records of requests that arrived before `before`; returns how many.
pub(crate) async fn delete_records_before(db: &Db, before: Timestamp) -> Result<u64, StoreError> {
    let mut tx = db.write_with(Durability::Relaxed).await?;
    let deleted = tx
        .execute(
            "DELETE FROM requests WHERE received_at < $1",
            params![before],
        )
        .await?;
    tx.commit().await?;
    Ok(deleted)
}

/// Returns the tokens that keys have used in a time: from `since` on, before `until`.
pub(crate) async fn tokens_of_keys(
    db: &Db,
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<(KeyId, u64)>, StoreError> {
    let mut tx = db.read().await?;
    let rows = tx
        .fetch_all(
            "SELECT principal_id,
                    CAST(SUM(COALESCE(prompt_tokens, 0) + COALESCE(completion_tokens, 0)) AS BIGINT) AS tokens
             FROM requests
             WHERE principal_kind = 'key' AND received_at >= $1 AND received_at < $2
             GROUP BY principal_id",
            params![since, until],
        )
        .await?;
    tx.commit().await?;
    let used = |row: &Row| {
        let tokens: i64 = row.get("tokens")?;
        Ok((row.get("principal_id")?, u64::try_from(tokens).unwrap_or(0)))
    };
    rows.iter().map(used).collect()
}

/// A record as stored.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StoredRecord {
    pub(crate) id: RequestId,
    pub(crate) received_at: Timestamp,
    pub(crate) caller_kind: String,
    pub(crate) caller_id: Option<String>,
    pub(crate) caller: String,
    pub(crate) client_address: Option<String>,
    pub(crate) dialect: String,
    pub(crate) operation: String,
    pub(crate) requested_model: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) node_id: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) status: i64,
    pub(crate) outcome: String,
    pub(crate) error: Option<String>,
    pub(crate) stream: bool,
    pub(crate) continued: i64,
    pub(crate) retries: i64,
    pub(crate) queue_us: i64,
    pub(crate) first_token_us: Option<i64>,
    pub(crate) total_us: i64,
    pub(crate) prompt_tokens: Option<i64>,
    pub(crate) completion_tokens: Option<i64>,
    pub(crate) policy: Option<String>,
    /// Every attempt with its candidates; only in the full view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<Value>,
    /// What a split chose; only in the full view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) split: Option<Value>,
}

/// What to list. Absent: everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) model: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) outcome: Option<String>,
    pub(crate) since: Option<Timestamp>,
    /// Of one of these keys and people, by id.
    pub(crate) callers: Option<Vec<String>>,
    /// Only records older than this one.
    pub(crate) before: Option<String>,
    /// How many of the newest to leave out.
    pub(crate) skipped: u32,
}

/// Records that are looked through at a time for what has no index of its own: another one would cost every record about as much as its
/// row does.
const WINDOW: u32 = 25_000;
/// The most windows of one page. It is shorter, but leads on, when there was too little in them.
const WINDOWS: u32 = 40;

/// Sorts after every id.
const LAST: &str = "\u{10ffff}";

/// Records as listed, and from where to go on where not all of them were looked at.
pub(crate) struct Listed {
    pub(crate) records: Vec<StoredRecord>,
    pub(crate) looked_until: Option<String>,
}

/// The parameters `$1` to `$7` are: before which id, from which id on, model, node, outcome, since, a list of callers; `$8` how many
/// records at most, `$9` how many of them to leave out.
macro_rules! narrowed {
    ($selected:literal, $leader:literal) => {
        concat!(
            "SELECT ",
            $selected,
            " FROM requests WHERE ",
            $leader,
            " AND id < $1 AND id >= $2 AND (CAST($3 AS TEXT) IS NULL OR model = $3)
              AND (CAST($4 AS TEXT) IS NULL OR node_name = $4 OR node_id = $4)
              AND (CAST($5 AS TEXT) IS NULL OR outcome = $5) AND (CAST($6 AS BIGINT) IS NULL OR received_at >= $6)
              AND (CAST($7 AS TEXT) IS NULL OR $7 LIKE '%' || principal_id || '%')
              ORDER BY id DESC LIMIT $8 OFFSET $9"
        )
    };
}

/// What leads a query by an index: the list, and the count of what matches.
struct Led {
    list: &'static str,
    count: &'static str,
}

macro_rules! led {
    ($leader:literal) => {
        Led {
            list: narrowed!("*", $leader),
            count: concat!(
                "SELECT CAST(count(*) AS BIGINT) AS total FROM (",
                narrowed!("id", $leader),
                ") AS counted"
            ),
        }
    };
}

/// The count of what one index leads to: from the id `$1` on, of a value `$2`, `$3` at most.
macro_rules! counted {
    ($leader:literal) => {
        concat!(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM (SELECT id FROM requests WHERE ",
            $leader,
            " AND id >= $1 ORDER BY id DESC LIMIT $3) AS counted"
        )
    };
}

impl Filter {
    fn of_ended_badly(&self) -> bool {
        self.outcome.as_deref().is_some_and(|name| name != "ok")
    }

    /// Nodes are asked for by name; by id they are looked for.
    fn node_by_name(&self) -> bool {
        self.node
            .as_deref()
            .is_some_and(|node| node.parse::<NodeId>().is_err())
    }

    fn led(&self) -> Led {
        if self.of_ended_badly() {
            led!("outcome = $5 AND outcome <> 'ok'")
        } else if self.model.is_some() {
            led!("model = $3")
        } else if self.node_by_name() {
            led!("node_name = $4")
        } else {
            led!("id <> ''")
        }
    }

    /// Tells whether what leads the query by an index is all that narrows it, so that what matches lies together.
    fn lies_together(&self) -> bool {
        let (by_model, by_node) = (self.model.is_some(), self.node.is_some());
        let narrows = [by_model, by_node, self.outcome.is_some()];
        let narrows = narrows.iter().filter(|narrows| **narrows).count();
        self.callers.is_none()
            && narrows <= 1
            && (!by_node || self.node_by_name())
            && (self.outcome.is_none() || self.of_ended_badly())
    }

    fn params(&self, (before, from): (&str, &str), limit: i64, skipped: u32) -> Params {
        params![
            before,
            from,
            self.model.clone(),
            self.node.clone(),
            self.outcome.clone(),
            self.since,
            self.callers.as_ref().map(|ids| ids.join(" ")),
            limit,
            skipped
        ]
    }

    fn floor(&self) -> String {
        let floor = self.since.map(RequestId::first_at);
        floor.map(|id| id.to_string()).unwrap_or_default()
    }
}

/// Lists records, newest first. Ids begin with the time of arrival, so their order is the order of arrival.
pub(crate) async fn list_records(
    db: &Db,
    filter: &Filter,
    limit: u32,
) -> Result<Listed, StoreError> {
    let floor = filter.floor();
    let mut before = filter.before.clone().unwrap_or_else(|| LAST.to_owned());
    let mut records = Vec::new();
    let led = filter.led();
    // What leads the query by an index need not be looked for, what narrows it further may be rare.
    let (by_model, by_node) = (filter.model.is_some(), filter.node.is_some());
    let looked_for = by_node && (by_model || !filter.node_by_name()) || filter.callers.is_some();
    let in_windows = !filter.of_ended_badly() && looked_for;
    let mut tx = db.read().await?;
    let mut windows = 0;
    let mut skipped = filter.skipped;
    let looked_until = loop {
        let edge = if in_windows {
            tx.fetch_optional(
                "SELECT id FROM requests WHERE id < $1 AND id >= $2 ORDER BY id DESC LIMIT 1 OFFSET $3",
                params![&before, &floor, WINDOW],
            )
            .await?
            .map(|row| row.get::<String>("id"))
            .transpose()?
        } else {
            None
        };
        let between = (&*before, edge.as_deref().unwrap_or(&floor));
        // What is left out may lie in several windows.
        let found = if in_windows && skipped > 0 {
            let values = filter.params(between, i64::from(skipped), 0);
            read_total(tx.fetch_optional(led.count, values).await?.as_ref())?
        } else {
            u64::from(skipped)
        };
        if found < u64::from(skipped) {
            skipped -= u32::try_from(found).unwrap_or(skipped);
        } else {
            let left = i64::from(limit) - records.len() as i64;
            let values = filter.params(between, left, skipped);
            for row in &tx.fetch_all(led.list, values).await? {
                records.push(record(row, false)?);
            }
            skipped = 0;
        }
        windows += 1;
        match edge {
            Some(edge) if records.len() < limit as usize => {
                if windows == WINDOWS {
                    break Some(edge);
                }
                before = edge;
            }
            _ => break None,
        }
    };
    tx.commit().await?;
    Ok(Listed {
        records,
        looked_until,
    })
}

/// Counts the records that a filter lets through, at most [`COUNTED`]; nothing where they would have to be looked for. Only what the
/// index has is read: a count is made for every page.
pub(crate) async fn count_records(db: &Db, filter: &Filter) -> Result<Option<u64>, StoreError> {
    if !filter.lies_together() {
        return Ok(None);
    }
    let (sql, of) = if filter.of_ended_badly() {
        (
            counted!("outcome = $2 AND outcome <> 'ok'"),
            &filter.outcome,
        )
    } else if filter.model.is_some() {
        (counted!("model = $2"), &filter.model)
    } else if filter.node.is_some() {
        (counted!("node_name = $2"), &filter.node)
    } else {
        (counted!("CAST($2 AS TEXT) IS NULL"), &None)
    };
    let mut tx = db.read().await?;
    let values = params![filter.floor(), of.clone(), COUNTED];
    let row = tx.fetch_optional(sql, values).await?;
    tx.commit().await?;
    read_total(row.as_ref()).map(Some)
}

fn read_total(row: Option<&Row>) -> Result<u64, StoreError> {
    row.map_or(Ok(0), |row| row.get("total"))
}

/// Takes name and address out of some records of these callers, those after an id. Returns how many were changed, and from where to go on.
pub(crate) async fn erase_names(
    db: &Db,
    callers: &[String],
    after: &str,
) -> Result<(u64, Option<String>), StoreError> {
    let mut tx = db.write().await?;
    let edge = tx
        .fetch_optional(
            "SELECT id FROM requests WHERE id > $1 ORDER BY id LIMIT 1 OFFSET $2",
            params![after, WINDOW],
        )
        .await?
        .map(|row| row.get::<String>("id"))
        .transpose()?;
    let changed = tx
        .execute(
            "UPDATE requests SET principal_name = 'erased', client_address = NULL
             WHERE id > $1 AND id <= $2 AND $3 LIKE '%' || principal_id || '%'",
            params![after, edge.as_deref().unwrap_or(LAST), callers.join(" ")],
        )
        .await?;
    tx.commit().await?;
    Ok((changed, edge))
}

/// Notes who was erased, for the records that come later.
pub(crate) async fn note_erased(
    db: &Db,
    callers: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut tx = db.write().await?;
    for caller in callers {
        tx.execute(
            "INSERT INTO erased_callers (caller_id, erased_at) VALUES ($1, $2) ON CONFLICT (caller_id) DO UPDATE SET erased_at = excluded.erased_at",
            params![caller, now],
        )
        .await?;
    }
    tx.commit().await
}

/// How long after somebody was erased records of them may still come: longer than any request lasts.
const LATE: Duration = Duration::from_hours(48);

/// Takes name and address out of records that came after their callers were erased.
pub(crate) async fn erase_late_names(db: &Db, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = db.read().await?;
    let rows = tx
        .fetch_all("SELECT caller_id, erased_at FROM erased_callers", ())
        .await?;
    tx.commit().await?;
    let mut callers = Vec::new();
    let mut first = now;
    for row in &rows {
        callers.push(row.get::<String>("caller_id")?);
        first = first.min(row.get("erased_at")?);
    }
    if callers.is_empty() {
        return Ok(());
    }
    let mut from = Some(RequestId::first_at(first.before(LATE)).to_string());
    while let Some(after) = from {
        (_, from) = erase_names(db, &callers, &after).await?;
    }
    let mut tx = db.write().await?;
    tx.execute(
        "DELETE FROM erased_callers WHERE erased_at < $1",
        params![now.before(LATE)],
    )
    .await?;
    tx.commit().await
}

/// Finds one record with its attempts.
pub(crate) async fn find_record(
    db: &Db,
    id: RequestId,
) -> Result<Option<StoredRecord>, StoreError> {
    let mut tx = db.read().await?;
    let row = tx
        .fetch_optional("SELECT * FROM requests WHERE id = $1", params![id])
        .await?;
    tx.commit().await?;
    row.as_ref().map(|row| record(row, true)).transpose()
}

fn record(row: &Row, full: bool) -> Result<StoredRecord, StoreError> {
    let json = |column: &str| -> Result<Option<Value>, StoreError> {
        if !full {
            return Ok(None);
        }
        let found = row.get::<Option<Json<Value>>>(column)?;
        Ok(found.map(|json| json.0))
    };
    Ok(StoredRecord {
        id: row.get("id")?,
        received_at: row.get("received_at")?,
        caller_kind: row.get("principal_kind")?,
        caller_id: row.get("principal_id")?,
        caller: row.get("principal_name")?,
        client_address: row.get("client_address")?,
        dialect: row.get("dialect")?,
        operation: row.get("operation")?,
        requested_model: row.get("requested_model")?,
        model: row.get("model")?,
        node_id: row.get("node_id")?,
        node: row.get("node_name")?,
        status: row.get("status")?,
        outcome: row.get("outcome")?,
        error: row.get("error")?,
        stream: row.get("stream")?,
        continued: row.get("continued")?,
        retries: row.get("retries")?,
        queue_us: row.get("queue_us")?,
        first_token_us: row.get("first_token_us")?,
        total_us: row.get("total_us")?,
        prompt_tokens: row.get("prompt_tokens")?,
        completion_tokens: row.get("completion_tokens")?,
        policy: row.get("policy")?,
        attempts: json("decision")?,
        split: json("split")?,
    })
}
