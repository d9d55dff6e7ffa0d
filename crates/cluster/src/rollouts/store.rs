//! All SQL of roll-outs.

use std::collections::BTreeMap;
use std::time::Duration;

use ::store::{Row, StoreError, Tx, params};
use primitives::{COUNTED, RolloutId, Timestamp};
use scheduling::rollout::{Observed, Rule};

use super::record::{FaultKind, Rollout, State, read_stages, written_stages};
use super::split::RolloutVersion;

/// The most roll-outs that decide something at once.
pub(crate) const MAX_OPEN: u32 = 200;
/// The most requests that are kept of a stage as the ones that showed a fault.
pub(crate) const MAX_SHOWN: u32 = 20;

macro_rules! columns {
    () => {
        "id, model, name, old_model, old_name, new_model, new_name, stages, hold_ms, min_requests, max_error_rate, max_slower, state, \
         stage, share, node_id, entered_at, reason, fault, changed_by, version, created_at, updated_at, ended_at, closed_at"
    };
}

macro_rules! selected {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM rollouts ", $rest)
    };
}

fn corrupt(column: &str, value: &str) -> StoreError {
    StoreError::Corrupt {
        column: column.to_owned(),
        reason: format!("{value:?} is not known"),
    }
}

fn read_rollout(row: &Row) -> Result<Rollout, StoreError> {
    let (state, stages): (String, String) = (row.get("state")?, row.get("stages")?);
    let fault: Option<String> = row.get("fault")?;
    Ok(Rollout {
        id: row.get("id")?,
        model: row.get("model")?,
        name: row.get("name")?,
        old_model: row.get("old_model")?,
        old_name: row.get("old_name")?,
        new_model: row.get("new_model")?,
        new_name: row.get("new_name")?,
        stages: read_stages(&stages).ok_or_else(|| corrupt("stages", &stages))?,
        rule: Rule {
            hold: Duration::from_millis(row.get("hold_ms")?),
            min_requests: row.get("min_requests")?,
            max_error_rate: row.get("max_error_rate")?,
            max_slower: row.get("max_slower")?,
        },
        state: State::from_name(&state).ok_or_else(|| corrupt("state", &state))?,
        stage: row.get("stage")?,
        share: row.get("share")?,
        node: row.get("node_id")?,
        entered_at: row.get("entered_at")?,
        reason: row.get("reason")?,
        fault: fault
            .map(|fault| FaultKind::from_name(&fault).ok_or_else(|| corrupt("fault", &fault)))
            .transpose()?,
        changed_by: row.get("changed_by")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        ended_at: row.get("ended_at")?,
        closed_at: row.get("closed_at")?,
    })
}

/// Lists the roll-outs that decide which version callers get, by model.
pub(crate) async fn list_open(tx: &mut Tx) -> Result<Vec<Rollout>, StoreError> {
    tx.fetch_all(
        selected!("WHERE closed_at IS NULL ORDER BY model LIMIT $1"),
        params![MAX_OPEN],
    )
    .await?
    .iter()
    .map(read_rollout)
    .collect()
}

/// Finds a roll-out.
pub(crate) async fn find_rollout(
    tx: &mut Tx,
    id: RolloutId,
) -> Result<Option<Rollout>, StoreError> {
    tx.fetch_optional(selected!("WHERE id = $1"), params![id])
        .await?
        .map(|row| read_rollout(&row))
        .transpose()
}

/// Finds the newest roll-out of a model.
pub(crate) async fn find_newest(tx: &mut Tx, model: &str) -> Result<Option<Rollout>, StoreError> {
    tx.fetch_optional(
        selected!("WHERE model = $1 ORDER BY id DESC LIMIT 1"),
        params![model],
    )
    .await?
    .map(|row| read_rollout(&row))
    .transpose()
}

/// Lists roll-outs, the newest first, from before an id, of one model or of all.
pub(crate) async fn list_rollouts(
    tx: &mut Tx,
    model: Option<&str>,
    before: &str,
    (fetched, skipped): (u32, u32),
) -> Result<Vec<Rollout>, StoreError> {
    tx.fetch_all(
        selected!(
            "WHERE (CAST($1 AS TEXT) IS NULL OR model = $1) AND id < $2 ORDER BY id DESC LIMIT $3 OFFSET $4"
        ),
        params![model, before, fetched, skipped],
    )
    .await?
    .iter()
    .map(read_rollout)
    .collect()
}

/// Counts them, up to the bound of totals.
pub(crate) async fn count_rollouts(tx: &mut Tx, model: Option<&str>) -> Result<u64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM (
                 SELECT 1 FROM rollouts WHERE (CAST($1 AS TEXT) IS NULL OR model = $1) LIMIT $2) AS counted",
            params![model, COUNTED],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("total"))
}

/// Stores a new roll-out. `false`: there is one of its name.
pub(crate) async fn insert_rollout(tx: &mut Tx, rollout: &Rollout) -> Result<bool, StoreError> {
    let inserted = tx
        .execute(
            concat!(
                "INSERT INTO rollouts (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)
                 ON CONFLICT DO NOTHING"
            ),
            params![
                rollout.id,
                &rollout.model,
                &rollout.name,
                &rollout.old_model,
                &rollout.old_name,
                &rollout.new_model,
                &rollout.new_name,
                written_stages(&rollout.stages),
                millis(rollout.rule.hold),
                rollout.rule.min_requests,
                rollout.rule.max_error_rate,
                rollout.rule.max_slower,
                rollout.state.as_str(),
                rollout.stage,
                rollout.share,
                rollout.node,
                rollout.entered_at,
                rollout.reason.as_deref(),
                rollout.fault.map(FaultKind::as_str),
                &rollout.changed_by,
                rollout.version,
                rollout.created_at,
                rollout.updated_at,
                rollout.ended_at,
                rollout.closed_at
            ],
        )
        .await?;
    Ok(inserted > 0)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Stores what became of a roll-out, which was read at the version before. `false`: somebody else has changed it meanwhile.
pub(crate) async fn update_rollout(tx: &mut Tx, rollout: &Rollout) -> Result<bool, StoreError> {
    let changed = tx
        .execute(
            "UPDATE rollouts SET state = $2, stage = $3, share = $4, node_id = $5, entered_at = $6, reason = $7, fault = $8,
                 changed_by = $9, version = $10, updated_at = $11, ended_at = $12, closed_at = $13
             WHERE id = $1 AND version = $10 - 1",
            params![
                rollout.id,
                rollout.state.as_str(),
                rollout.stage,
                rollout.share,
                rollout.node,
                rollout.entered_at,
                rollout.reason.as_deref(),
                rollout.fault.map(FaultKind::as_str),
                &rollout.changed_by,
                rollout.version,
                rollout.updated_at,
                rollout.ended_at,
                rollout.closed_at
            ],
        )
        .await?;
    Ok(changed > 0)
}

/// Something that is counted of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Answered in full.
    Ok,
    /// Failed, or broken off.
    Failed,
    /// The time to the first token, in this bin.
    FirstToken(u16),
}

impl Kind {
    const fn row(self) -> (&'static str, u16) {
        match self {
            Self::Ok => ("ok", 0),
            Self::Failed => ("failed", 0),
            Self::FirstToken(bin) => ("first_token", bin),
        }
    }
}

/// Adds to a count.
pub(crate) async fn add_count(
    tx: &mut Tx,
    (id, stage, version): (RolloutId, u32, RolloutVersion),
    kind: Kind,
    requests: u64,
) -> Result<(), StoreError> {
    let (kind, bin) = kind.row();
    tx.execute(
        "INSERT INTO rollout_counts (rollout_id, stage, version, kind, bin, requests) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (rollout_id, stage, version, kind, bin) DO UPDATE SET requests = rollout_counts.requests + excluded.requests",
        params![id, stage, version.as_str(), kind, u32::from(bin), requests],
    )
    .await?;
    Ok(())
}

/// What was counted, by stage and version.
pub(crate) type Counts = BTreeMap<(u32, RolloutVersion), Observed>;

/// Reads what was counted of a roll-out.
pub(crate) async fn read_counts(tx: &mut Tx, id: RolloutId) -> Result<Counts, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT stage, version, kind, bin, requests FROM rollout_counts WHERE rollout_id = $1",
            params![id],
        )
        .await?;
    let mut counts = Counts::new();
    for row in &rows {
        let (version, kind): (String, String) = (row.get("version")?, row.get("kind")?);
        let version = match version.as_str() {
            "old" => RolloutVersion::Old,
            "new" => RolloutVersion::New,
            other => return Err(corrupt("version", other)),
        };
        let observed = counts.entry((row.get("stage")?, version)).or_default();
        let requests: u64 = row.get("requests")?;
        match kind.as_str() {
            "ok" => observed.ok += requests,
            "failed" => observed.failed += requests,
            "first_token" => {
                let bin: u32 = row.get("bin")?;
                let bin = u16::try_from(bin).unwrap_or(u16::MAX);
                observed.first_tokens.count(bin, requests);
            }
            other => return Err(corrupt("kind", other)),
        }
    }
    Ok(counts)
}

/// Keeps requests that showed a fault: those with the greatest weight, up to the bound.
pub(crate) async fn keep_requests(
    tx: &mut Tx,
    (id, stage, kind): (RolloutId, u32, &str),
    requests: &[(String, i64)],
) -> Result<(), StoreError> {
    for (request, weight) in requests {
        tx.execute(
            "INSERT INTO rollout_requests (rollout_id, stage, kind, request_id, weight) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            params![id, stage, kind, request, *weight],
        )
        .await?;
    }
    tx.execute(
        "DELETE FROM rollout_requests WHERE rollout_id = $1 AND stage = $2 AND kind = $3 AND request_id NOT IN (
             SELECT request_id FROM rollout_requests WHERE rollout_id = $1 AND stage = $2 AND kind = $3
             ORDER BY weight DESC, request_id LIMIT $4)",
        params![id, stage, kind, MAX_SHOWN],
    )
    .await?;
    Ok(())
}

/// Lists the requests of a stage that showed a fault, the greatest weight first.
pub(crate) async fn list_requests(
    tx: &mut Tx,
    (id, stage, kind): (RolloutId, u32, &str),
) -> Result<Vec<String>, StoreError> {
    tx.fetch_all(
        "SELECT request_id FROM rollout_requests WHERE rollout_id = $1 AND stage = $2 AND kind = $3
         ORDER BY weight DESC, request_id LIMIT $4",
        params![id, stage, kind, MAX_SHOWN],
    )
    .await?
    .iter()
    .map(|row| row.get("request_id"))
    .collect()
}

/// Forgets roll-outs that have decided nothing since a time.
pub(crate) async fn forget(tx: &mut Tx, before: Timestamp) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM rollout_counts WHERE rollout_id IN (SELECT id FROM rollouts WHERE closed_at < $1)",
        "DELETE FROM rollout_requests WHERE rollout_id IN (SELECT id FROM rollouts WHERE closed_at < $1)",
        "DELETE FROM rollouts WHERE closed_at < $1",
    ] {
        tx.execute(sql, params![before]).await?;
    }
    Ok(())
}
