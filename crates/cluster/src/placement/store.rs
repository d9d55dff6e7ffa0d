//! All SQL of placement.

use ::store::{Json, JsonText, Row, StoreError, Tx, params};
use primitives::{COUNTED, JobId, NodeId, Timestamp};
use scheduling::placement::{ActionKind, DemandState, Mode};

use super::action::{Origin, Planned, Status, Stored};
use super::policy::{Policy, Wanted};

/// The most policies there can be.
pub(crate) const MAX_POLICIES: u64 = 2_000;
/// The most actions that have not ended.
pub(crate) const MAX_OPEN: u32 = 2_000;
/// The most uses that are read: each is a model at a node.
const MAX_USES: u32 = 100_000;
/// Ended actions that are looked at for failures.
const FAILURES: u32 = 5_000;

fn corrupt(column: &str, value: &str) -> StoreError {
    StoreError::Corrupt {
        column: column.to_owned(),
        reason: format!("{value:?} is not known"),
    }
}

fn read_policy(row: &Row) -> Result<Policy, StoreError> {
    let mode: String = row.get("mode")?;
    Ok(Policy {
        key: row.get("model")?,
        name: row.get("name")?,
        mode: Mode::from_name(&mode).ok_or_else(|| corrupt("mode", &mode))?,
        wanted: row.get::<Json<Wanted>>("wanted")?.0,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

/// Lists the policies, by model.
pub(crate) async fn list_policies(tx: &mut Tx) -> Result<Vec<Policy>, StoreError> {
    tx.fetch_all(
        "SELECT model, name, mode, wanted, created_at, updated_at FROM placement_policies ORDER BY model",
        (),
    )
    .await?
    .iter()
    .map(read_policy)
    .collect()
}

/// Finds what is wanted of a model.
pub(crate) async fn find_policy(tx: &mut Tx, model: &str) -> Result<Option<Policy>, StoreError> {
    tx.fetch_optional(
        "SELECT model, name, mode, wanted, created_at, updated_at FROM placement_policies WHERE model = $1",
        params![model],
    )
    .await?
    .map(|row| read_policy(&row))
    .transpose()
}

/// Counts the policies.
pub(crate) async fn count_policies(tx: &mut Tx) -> Result<u64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM placement_policies",
            (),
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("total"))
}

/// Stores what is wanted of a model, in place of what was.
pub(crate) async fn put_policy(tx: &mut Tx, policy: &Policy) -> Result<(), StoreError> {
    let wanted =
        JsonText::of(&policy.wanted).map_err(|error| corrupt("wanted", &error.to_string()))?;
    tx.execute(
        "INSERT INTO placement_policies (model, name, mode, wanted, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (model) DO UPDATE SET name = excluded.name, mode = excluded.mode, wanted = excluded.wanted,
             updated_at = excluded.updated_at",
        params![
            &policy.key,
            &policy.name,
            policy.mode.as_str(),
            wanted,
            policy.created_at,
            policy.updated_at
        ],
    )
    .await?;
    Ok(())
}

/// Deletes what is wanted of a model.
pub(crate) async fn delete_policy(tx: &mut Tx, model: &str) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM placement_policies WHERE model = $1",
        "DELETE FROM placement_demand WHERE model = $1",
    ] {
        tx.execute(sql, params![model]).await?;
    }
    Ok(())
}

macro_rules! columns {
    () => {
        "id, kind, model, name, node_id, node_name, from_node, context, cause, origin, status, why, effect, bytes, done_bytes, \
         total_bytes, attempt, error, created_at, started_at, ended_at"
    };
}

fn read_action(row: &Row) -> Result<Stored, StoreError> {
    let kind: String = row.get("kind")?;
    let origin: String = row.get("origin")?;
    let status: String = row.get("status")?;
    let planned = Planned {
        kind: ActionKind::from_name(&kind).ok_or_else(|| corrupt("kind", &kind))?,
        key: row.get("model")?,
        model: row.get("name")?,
        node: row.get("node_id")?,
        node_name: row.get("node_name")?,
        from: row.get("from_node")?,
        context: row.get("context")?,
        cause: row.get("cause")?,
        why: row.get("why")?,
        effect: row.get("effect")?,
        bytes: row.get("bytes")?,
    };
    Ok(Stored {
        id: row.get("id")?,
        action: planned.into(),
        origin: Origin::from_name(&origin).ok_or_else(|| corrupt("origin", &origin))?,
        status: Status::from_name(&status).ok_or_else(|| corrupt("status", &status))?,
        done_bytes: row.get("done_bytes")?,
        total_bytes: row.get("total_bytes")?,
        attempt: row.get("attempt")?,
        error: row.get("error")?,
        created_at: row.get("created_at")?,
        started_at: row.get("started_at")?,
        ended_at: row.get("ended_at")?,
    })
}

/// Stores an action that waits. `false`: one like it has not ended.
pub(crate) async fn insert_action(tx: &mut Tx, stored: &Stored) -> Result<bool, StoreError> {
    let action = &stored.action;
    let inserted = tx
        .execute(
            "INSERT INTO placement_actions (id, kind, model, name, node_id, node_name, from_node, context, cause, origin,
                 status, why, effect, bytes, done_bytes, total_bytes, attempt, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, 0, $15, $16)
             ON CONFLICT DO NOTHING",
            params![
                stored.id,
                action.kind.as_str(),
                &action.key,
                &action.model,
                action.node,
                &action.node_name,
                action.from,
                action.context,
                &action.cause,
                stored.origin.as_str(),
                stored.status.as_str(),
                &action.why,
                &action.effect,
                action.bytes,
                stored.attempt,
                stored.created_at
            ],
        )
        .await?;
    Ok(inserted > 0)
}

/// Lists the actions that have not ended, in the order in which they were planned.
pub(crate) async fn list_open(tx: &mut Tx) -> Result<Vec<Stored>, StoreError> {
    tx.fetch_all(
        concat!(
            "SELECT ",
            columns!(),
            " FROM placement_actions WHERE ended_at IS NULL ORDER BY id LIMIT $1"
        ),
        params![MAX_OPEN],
    )
    .await?
    .iter()
    .map(read_action)
    .collect()
}

/// Lists actions that ended after a time, the last first.
pub(crate) async fn list_ended(tx: &mut Tx, after: Timestamp) -> Result<Vec<Stored>, StoreError> {
    tx.fetch_all(
        concat!(
            "SELECT ",
            columns!(),
            " FROM placement_actions WHERE ended_at > $1 ORDER BY ended_at DESC LIMIT $2"
        ),
        params![after, FAILURES],
    )
    .await?
    .iter()
    .map(read_action)
    .collect()
}

/// Which actions to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ActionFilter {
    pub(crate) status: Option<Status>,
    pub(crate) model: Option<String>,
}

/// Lists actions, the newest first, from before an id.
pub(crate) async fn list_actions(
    tx: &mut Tx,
    filter: &ActionFilter,
    before: &str,
    (fetched, skipped): (u32, u32),
) -> Result<Vec<Stored>, StoreError> {
    tx.fetch_all(
        concat!(
            "SELECT ",
            columns!(),
            " FROM placement_actions WHERE (CAST($1 AS TEXT) IS NULL OR status = $1) AND (CAST($2 AS TEXT) IS NULL OR model = $2)
             AND id < $3 ORDER BY id DESC LIMIT $4 OFFSET $5"
        ),
        params![
            filter.status.map(Status::as_str),
            filter.model.as_deref(),
            before,
            fetched,
            skipped
        ],
    )
    .await?
    .iter()
    .map(read_action)
    .collect()
}

/// Counts them, up to the bound of totals.
pub(crate) async fn count_actions(tx: &mut Tx, filter: &ActionFilter) -> Result<u64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM (
                 SELECT 1 FROM placement_actions WHERE (CAST($1 AS TEXT) IS NULL OR status = $1)
                 AND (CAST($2 AS TEXT) IS NULL OR model = $2) LIMIT $3) AS counted",
            params![
                filter.status.map(Status::as_str),
                filter.model.as_deref(),
                COUNTED
            ],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("total"))
}

/// Finds an action.
pub(crate) async fn find_action(tx: &mut Tx, id: JobId) -> Result<Option<Stored>, StoreError> {
    tx.fetch_optional(
        concat!(
            "SELECT ",
            columns!(),
            " FROM placement_actions WHERE id = $1"
        ),
        params![id],
    )
    .await?
    .map(|row| read_action(&row))
    .transpose()
}

/// Lets whoever has the duty begin an action. `false`: it does not wait any more.
pub(crate) async fn begin_action(
    tx: &mut Tx,
    id: JobId,
    term: u64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let begun = tx
        .execute(
            "UPDATE placement_actions SET status = 'running', term = $2, started_at = $3 WHERE id = $1 AND status = 'queued'",
            params![id, term, now],
        )
        .await?;
    Ok(begun > 0)
}

/// Makes an action wait again that was being carried out by somebody who is gone.
pub(crate) async fn requeue_action(tx: &mut Tx, id: JobId) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE placement_actions SET status = 'queued', term = NULL, started_at = NULL WHERE id = $1 AND status = 'running'",
        params![id],
    )
    .await?;
    Ok(())
}

/// Tells how far an action has come. `false`: it was called off or taken over.
pub(crate) async fn note_progress(
    tx: &mut Tx,
    id: JobId,
    term: u64,
    (done, total): (u64, u64),
) -> Result<bool, StoreError> {
    let noted = tx
        .execute(
            "UPDATE placement_actions SET done_bytes = $3, total_bytes = $4 WHERE id = $1 AND term = $2 AND status = 'running'",
            params![id, term, done, total],
        )
        .await?;
    Ok(noted > 0)
}

/// Says anew why an action is done that this holder of the duty carries out.
pub(crate) async fn explain_action(
    tx: &mut Tx,
    id: JobId,
    term: u64,
    why: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE placement_actions SET why = $3 WHERE id = $1 AND term = $2 AND status = 'running'",
        params![id, term, why],
    )
    .await?;
    Ok(())
}

/// Ends an action that this holder of the duty carries out. `false`: it was called off or taken over.
pub(crate) async fn end_action(
    tx: &mut Tx,
    id: JobId,
    term: u64,
    status: Status,
    error: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let ended = tx
        .execute(
            "UPDATE placement_actions SET status = $3, error = $4, ended_at = $5 WHERE id = $1 AND term = $2 AND status = 'running'",
            params![id, term, status.as_str(), error, now],
        )
        .await?;
    Ok(ended > 0)
}

/// Calls an action off that has not ended. `false`: it has.
pub(crate) async fn cancel_action(
    tx: &mut Tx,
    id: JobId,
    why: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let cancelled = tx
        .execute(
            "UPDATE placement_actions SET status = 'cancelled', error = $2, ended_at = $3 WHERE id = $1 AND ended_at IS NULL",
            params![id, why, now],
        )
        .await?;
    Ok(cancelled > 0)
}

/// Forgets actions that ended before a time.
pub(crate) async fn forget_actions(tx: &mut Tx, before: Timestamp) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM placement_actions WHERE ended_at < $1",
        params![before],
    )
    .await
}

/// How much a model is used at a node.
#[derive(Clone, Debug)]
pub(crate) struct ModelUse {
    pub(crate) model: String,
    pub(crate) node: NodeId,
    pub(crate) requests: u64,
    pub(crate) busy_ms: u64,
    pub(crate) last_used_at: Timestamp,
}

/// Adds to what a model is used at a node.
pub(crate) async fn add_use(tx: &mut Tx, used: &ModelUse) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO model_uses (model, node_id, requests, busy_ms, last_used_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (model, node_id) DO UPDATE SET requests = model_uses.requests + excluded.requests,
             busy_ms = model_uses.busy_ms + excluded.busy_ms,
             last_used_at = CASE WHEN excluded.last_used_at > model_uses.last_used_at THEN excluded.last_used_at
                 ELSE model_uses.last_used_at END",
        params![
            &used.model,
            used.node,
            used.requests,
            used.busy_ms,
            used.last_used_at
        ],
    )
    .await?;
    Ok(())
}

/// Lists what is used where.
pub(crate) async fn list_uses(tx: &mut Tx) -> Result<Vec<ModelUse>, StoreError> {
    tx.fetch_all(
        "SELECT model, node_id, requests, busy_ms, last_used_at FROM model_uses ORDER BY last_used_at DESC LIMIT $1",
        params![MAX_USES],
    )
    .await?
    .iter()
    .map(|row| {
        Ok(ModelUse {
            model: row.get("model")?,
            node: row.get("node_id")?,
            requests: row.get("requests")?,
            busy_ms: row.get("busy_ms")?,
            last_used_at: row.get("last_used_at")?,
        })
    })
    .collect()
}

/// Forgets uses that ended before a time.
pub(crate) async fn forget_uses(tx: &mut Tx, before: Timestamp) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM model_uses WHERE last_used_at < $1",
        params![before],
    )
    .await
}

/// Lists what is remembered of the demand, by model.
pub(crate) async fn list_demand(tx: &mut Tx) -> Result<Vec<(String, DemandState)>, StoreError> {
    tx.fetch_all(
        "SELECT model, extra, high_since, low_since FROM placement_demand ORDER BY model",
        (),
    )
    .await?
    .iter()
    .map(|row| {
        let state = DemandState {
            extra: row.get("extra")?,
            high_since: row.get("high_since")?,
            low_since: row.get("low_since")?,
        };
        Ok((row.get("model")?, state))
    })
    .collect()
}

/// Remembers the demand for a model.
pub(crate) async fn put_demand(
    tx: &mut Tx,
    model: &str,
    state: &DemandState,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO placement_demand (model, extra, high_since, low_since) VALUES ($1, $2, $3, $4)
         ON CONFLICT (model) DO UPDATE SET extra = excluded.extra, high_since = excluded.high_since, low_since = excluded.low_since",
        params![model, state.extra, state.high_since, state.low_since],
    )
    .await?;
    Ok(())
}
