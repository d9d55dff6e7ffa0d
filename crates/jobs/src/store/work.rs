//! The SQL of the engine: enqueued, claimed in batches, held, ended in batches. Whoever writes names the run that holds the lease.

use std::fmt::Write as _;

use ::store::{
    Bulk, BulkColumn, ColumnType, Existing, Params, Row, Statement, StoreError, Tx, params,
};
use primitives::{JobId, OrgId, Timestamp};
use serde_json::{Value, json};

use crate::engine::enqueue::Priority;
use crate::model::RunId;

/// Work as it is stored when it is enqueued.
#[derive(Debug)]
pub(crate) struct WorkRow {
    pub(crate) id: JobId,
    pub(crate) kind: &'static str,
    pub(crate) lane: String,
    pub(crate) priority: Priority,
    pub(crate) unique_key: Option<String>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) created_at: Timestamp,
    pub(crate) run_at: Timestamp,
    pub(crate) most_attempts: u32,
}

const WORK: Bulk = Bulk {
    table: "jobs",
    columns: &[
        BulkColumn::new("id", ColumnType::Text),
        BulkColumn::new("kind", ColumnType::Text),
        BulkColumn::new("org_id", ColumnType::Text),
        BulkColumn::new("owner", ColumnType::Text),
        BulkColumn::new("caller", ColumnType::Text),
        BulkColumn::new("subject", ColumnType::Text),
        BulkColumn::new("class", ColumnType::Text),
        BulkColumn::new("state", ColumnType::Text),
        BulkColumn::new("lane", ColumnType::Text),
        BulkColumn::new("priority", ColumnType::I64),
        BulkColumn::new("unique_key", ColumnType::Text),
        BulkColumn::new("payload_sealed", ColumnType::Bytes),
        BulkColumn::new("created_at", ColumnType::I64),
        BulkColumn::new("run_at", ColumnType::I64),
        BulkColumn::new("attempt", ColumnType::I64),
        BulkColumn::new("most_attempts", ColumnType::I64),
        BulkColumn::new("chunks", ColumnType::I64),
    ],
    existing: Existing::Stays,
};

fn work_params(row: &WorkRow) -> Params {
    params![
        row.id,
        row.kind,
        "",
        "",
        "",
        "",
        "batch",
        "queued",
        &row.lane,
        row.priority.number(),
        row.unique_key.as_deref(),
        row.payload.clone(),
        row.created_at,
        row.run_at,
        0_u32,
        row.most_attempts,
        0_u32
    ]
}

/// Stores work. `false`: there is a job with its unique key that has not ended.
pub(crate) async fn insert_work(tx: &mut Tx, row: &WorkRow) -> Result<bool, StoreError> {
    Ok(tx.insert_many(&WORK, &[work_params(row)]).await? > 0)
}

/// Stores much work; returns how many are new.
pub(crate) async fn insert_many(tx: &mut Tx, rows: &[WorkRow]) -> Result<u64, StoreError> {
    let rows: Vec<Params> = rows.iter().map(work_params).collect();
    tx.insert_many(&WORK, &rows).await
}

/// Finds the job with a unique key that has not ended.
pub(crate) async fn find_unique(
    tx: &mut Tx,
    kind: &str,
    key: &str,
) -> Result<Option<JobId>, StoreError> {
    tx.fetch_optional(
        "SELECT id FROM jobs WHERE kind = $1 AND unique_key = $2 AND unique_key IS NOT NULL AND ended_at IS NULL",
        params![kind, key],
    )
    .await?
    .map(|row| row.get("id"))
    .transpose()
}

/// A lane in which something is due, with the first priority that has it.
#[derive(Debug)]
pub(crate) struct DueLane {
    pub(crate) lane: String,
    pub(crate) priority: i64,
}

/// Lanes of a kind after one, in their order, at most 64, each with what is due first in it. One step of the index for each lane, and
/// four for its priorities: the cost does not grow with what waits (PostgreSQL's wiki calls this a loose index scan).
/// Sorted and cut rather than the least of all: without fresh statistics the planner would read every row for that.
const DUE_LANES: &str = "
    WITH RECURSIVE lanes (lane, n) AS (
        SELECT (SELECT lane FROM jobs WHERE state = 'queued' AND kind = $1 AND lane > $2 ORDER BY lane LIMIT 1), 1
        UNION ALL
        SELECT (SELECT j.lane FROM jobs j WHERE j.state = 'queued' AND j.kind = $1 AND j.lane > lanes.lane ORDER BY j.lane LIMIT 1), n + 1
        FROM lanes WHERE lanes.lane IS NOT NULL AND n < 64
    )
    SELECT lane, COALESCE(
        (SELECT CAST(0 AS BIGINT) FROM jobs j WHERE j.state = 'queued' AND j.kind = $1 AND j.lane = lanes.lane AND j.priority = 0 AND j.run_at <= $3 LIMIT 1),
        (SELECT CAST(1 AS BIGINT) FROM jobs j WHERE j.state = 'queued' AND j.kind = $1 AND j.lane = lanes.lane AND j.priority = 1 AND j.run_at <= $3 LIMIT 1),
        (SELECT CAST(2 AS BIGINT) FROM jobs j WHERE j.state = 'queued' AND j.kind = $1 AND j.lane = lanes.lane AND j.priority = 2 AND j.run_at <= $3 LIMIT 1),
        (SELECT CAST(3 AS BIGINT) FROM jobs j WHERE j.state = 'queued' AND j.kind = $1 AND j.lane = lanes.lane AND j.priority = 3 AND j.run_at <= $3 LIMIT 1)
    ) AS priority
    FROM lanes WHERE lane IS NOT NULL";

/// The most lanes that are looked at together.
pub(crate) const LANES: usize = 64;

/// Lists lanes of a kind after `after`: those where something is due, and the last lane that was looked at when there may be more.
pub(crate) async fn due_lanes(
    tx: &mut Tx,
    kind: &str,
    after: &str,
    now: Timestamp,
) -> Result<(Vec<DueLane>, Option<String>), StoreError> {
    let rows = tx.fetch_all(DUE_LANES, params![kind, after, now]).await?;
    let mut due = Vec::new();
    let mut last = None;
    for row in &rows {
        let lane: String = row.get("lane")?;
        last = Some(lane.clone());
        if let Some(priority) = row.get::<Option<i64>>("priority")? {
            due.push(DueLane { lane, priority });
        }
    }
    Ok((due, last.filter(|_| rows.len() >= LANES)))
}

macro_rules! claim {
    ($most:literal) => {
        Statement::per_engine(
            concat!(
                "UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_until = $2, leased_by = $3,
                     started_at = COALESCE(started_at, $1)
                 WHERE id IN (SELECT id FROM jobs WHERE state = 'queued' AND kind = $4 AND lane = $5 AND priority = $6 AND run_at <= $1
                     AND $7 NOT LIKE '%,' || org_id || ',%' ORDER BY run_at, id LIMIT ",
                $most,
                ") RETURNING payload_sealed, lane, ",
                columns!()
            ),
            // The rows are found once, whatever plan the planner thinks of; the limit is a literal for the same reason.
            concat!(
                "UPDATE jobs SET state = 'running', attempt = attempt + 1, lease_until = $2, leased_by = $3,
                     started_at = COALESCE(started_at, $1)
                 WHERE id = ANY(ARRAY(SELECT id FROM jobs WHERE state = 'queued' AND kind = $4 AND lane = $5 AND priority = $6
                     AND run_at <= $1 AND org_id <> ALL(string_to_array(trim(',' FROM $7), ',')) ORDER BY run_at, id LIMIT ",
                $most,
                " FOR UPDATE SKIP LOCKED)) RETURNING payload_sealed, lane, ",
                columns!()
            ),
        )
    };
}

/// The most that one transaction claims. More would hold up those who wait for the same rows or, in SQLite, for its one writer,
/// and begin no sooner.
pub(crate) const CLAIMED_TOGETHER: usize = 64;

/// How many one statement claims, the most first.
const CLAIMS: [(usize, Statement); 4] = [
    (CLAIMED_TOGETHER, claim!("64")),
    (16, claim!("16")),
    (4, claim!("4")),
    (1, claim!("1")),
];

/// What is claimed, and for whom.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) run: &'a RunId,
    pub(crate) now: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) kind: &'a str,
    pub(crate) lane: &'a str,
    pub(crate) priority: i64,
    /// Organisations that get no more for now.
    pub(crate) but_of: &'a [OrgId],
}

/// Claims at most `most` jobs of a lane, the oldest first, with one statement; returns them, and how many it asked for.
pub(crate) async fn claim(
    tx: &mut Tx,
    claim: &Claim<'_>,
    most: usize,
) -> Result<(Vec<Row>, usize), StoreError> {
    let Some((asked, statement)) = CLAIMS.into_iter().find(|(size, _)| *size <= most) else {
        return Ok((Vec::new(), 1));
    };
    // What belongs to nobody has an empty name, which must not stand in the list.
    let mut but_of = String::from(",-,");
    for org in claim.but_of {
        let _infallible = write!(but_of, "{org},");
    }
    let rows = tx
        .fetch_all(
            statement,
            params![
                claim.now,
                claim.until,
                claim.run.0.as_str(),
                claim.kind,
                claim.lane,
                claim.priority,
                but_of
            ],
        )
        .await?;
    Ok((rows, asked))
}

/// Locks a kind, so that processes that count before they claim do so one after the other.
pub(crate) async fn lock_kind(tx: &mut Tx, kind: &str) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE job_kinds SET paused_at = paused_at WHERE kind = $1",
        params![kind],
    )
    .await?;
    Ok(())
}

/// Counts what runs of a kind, or of one of its lanes.
pub(crate) async fn count_running(
    tx: &mut Tx,
    kind: &str,
    lane: Option<&str>,
) -> Result<u64, StoreError> {
    let row = match lane {
        None => {
            tx.fetch_optional(
                "SELECT CAST(count(*) AS BIGINT) AS running FROM jobs WHERE state = 'running' AND kind = $1",
                params![kind],
            )
            .await?
        }
        Some(lane) => {
            tx.fetch_optional(
                "SELECT CAST(count(*) AS BIGINT) AS running FROM jobs WHERE state = 'running' AND kind = $1 AND lane = $2",
                params![kind, lane],
            )
            .await?
        }
    };
    row.map_or(Ok(0), |row| row.get("running"))
}

/// How many have begun since a window opened. Closed windows count as empty.
pub(crate) async fn taken_since(
    tx: &mut Tx,
    kind: &str,
    lane: &str,
    opened_after: Timestamp,
) -> Result<u64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT taken FROM job_rates WHERE kind = $1 AND lane = $2 AND window_at > $3",
            params![kind, lane, opened_after],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("taken"))
}

/// Counts those that begin now into their window, which opens when it was closed.
pub(crate) async fn note_taken(
    tx: &mut Tx,
    (kind, lane): (&str, &str),
    opened_after: Timestamp,
    now: Timestamp,
    taken: usize,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO job_rates (kind, lane, window_at, taken) VALUES ($1, $2, $4, $5)
         ON CONFLICT (kind, lane) DO UPDATE SET
             taken = CASE WHEN job_rates.window_at > $3 THEN job_rates.taken + excluded.taken ELSE excluded.taken END,
             window_at = CASE WHEN job_rates.window_at > $3 THEN job_rates.window_at ELSE excluded.window_at END",
        params![kind, lane, opened_after, now, u64::try_from(taken).unwrap_or(u64::MAX)],
    )
    .await?;
    Ok(())
}

/// A job and the run that holds it.
pub(crate) type HeldJob = (JobId, RunId);

fn held_json(held: &[HeldJob]) -> Value {
    let pairs: Vec<Value> = held
        .iter()
        .map(|(id, run)| json!({"id": id.to_string(), "run": run.0}))
        .collect();
    Value::Array(pairs)
}

fn ids(rows: &[Row]) -> Result<Vec<JobId>, StoreError> {
    rows.iter().map(|row| row.get("id")).collect()
}

/// Holds many jobs for longer with one statement; returns those that are still held.
pub(crate) async fn renew_all(
    tx: &mut Tx,
    held: &[HeldJob],
    until: Timestamp,
) -> Result<Vec<JobId>, StoreError> {
    const RENEW: Statement = Statement::per_engine(
        "UPDATE jobs SET lease_until = $1
         FROM (SELECT json_extract(value, '$.id') AS held_id, json_extract(value, '$.run') AS run FROM json_each($2)) AS held
         WHERE jobs.id = held.held_id AND jobs.leased_by = held.run AND jobs.state = 'running' RETURNING id",
        "UPDATE jobs SET lease_until = $1 FROM jsonb_to_recordset($2) AS held (id TEXT, run TEXT)
         WHERE jobs.id = held.id AND jobs.leased_by = held.run AND jobs.state = 'running' RETURNING jobs.id AS id",
    );
    let rows = tx.fetch_all(RENEW, params![until, held_json(held)]).await?;
    ids(&rows)
}

/// Deletes many jobs that are done and of which nothing is kept, with one statement; returns those that were still held.
pub(crate) async fn delete_done(tx: &mut Tx, held: &[HeldJob]) -> Result<Vec<JobId>, StoreError> {
    const DELETE: Statement = Statement::per_engine(
        "DELETE FROM jobs WHERE state = 'running' AND (id, leased_by) IN
             (SELECT json_extract(value, '$.id'), json_extract(value, '$.run') FROM json_each($1)) RETURNING id",
        "DELETE FROM jobs USING jsonb_to_recordset($1) AS held (id TEXT, run TEXT)
         WHERE jobs.id = held.id AND jobs.leased_by = held.run AND jobs.state = 'running' RETURNING jobs.id AS id",
    );
    let rows = tx.fetch_all(DELETE, params![held_json(held)]).await?;
    ids(&rows)
}

/// Tells whether there is a lease that ran out: cheap, and writes nothing.
pub(crate) async fn find_lapsed(
    tx: &mut Tx,
    kind: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let lapsed = tx
        .fetch_optional(
            "SELECT id FROM jobs WHERE state = 'running' AND kind = $1 AND lease_until < $2 LIMIT 1",
            params![kind, now],
        )
        .await?;
    Ok(lapsed.is_some())
}
