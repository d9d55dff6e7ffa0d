//! All SQL of updates of agents.

use std::time::Duration;

use ::store::{Row, Statement, StoreError, Tx, params};
use bytes::Bytes;
use primitives::{COUNTED, NodeId, RolloutId, Timestamp};
use scheduling::rollout::{Stage, Stages};

use super::record::{AgentRollout, AgentRolloutState, Asked, Release};

/// The most releases that are kept.
pub(crate) const MAX_RELEASES: u32 = 20;
/// The most agents that are listed of a roll-out.
const MAX_ASKED: u32 = 5_000;

fn corrupt(column: &str, value: &str) -> StoreError {
    StoreError::Corrupt {
        column: column.to_owned(),
        reason: format!("{value:?} is not known"),
    }
}

fn read_release(row: &Row) -> Result<Release, StoreError> {
    let manifest: String = row.get("manifest")?;
    Ok(Release {
        id: row.get("id")?,
        manifest: manifest
            .parse()
            .map_err(|_| corrupt("manifest", "the text of the release"))?,
        created_by: row.get("created_by")?,
        created_at: row.get("created_at")?,
        completed_at: row.get("completed_at")?,
    })
}

/// Lists releases, the newest first.
pub(crate) async fn list_releases(tx: &mut Tx) -> Result<Vec<Release>, StoreError> {
    tx.fetch_all(
        "SELECT id, manifest, created_by, created_at, completed_at FROM agent_releases ORDER BY created_at DESC, id LIMIT $1",
        params![MAX_RELEASES],
    )
    .await?
    .iter()
    .map(read_release)
    .collect()
}

/// Finds a release.
pub(crate) async fn find_release(tx: &mut Tx, id: &str) -> Result<Option<Release>, StoreError> {
    tx.fetch_optional(
        "SELECT id, manifest, created_by, created_at, completed_at FROM agent_releases WHERE id = $1",
        params![id],
    )
    .await?
    .map(|row| read_release(&row))
    .transpose()
}

/// Stores what a release is. Its program comes afterwards.
pub(crate) async fn insert_release(tx: &mut Tx, release: &Release) -> Result<(), StoreError> {
    let manifest = &release.manifest;
    tx.execute(
        "INSERT INTO agent_releases (id, version, target, size, sha256, update_key, manifest, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            &release.id,
            manifest.version.to_string(),
            &manifest.target,
            manifest.size,
            manifest.sha256.to_string(),
            manifest.key.to_string(),
            manifest.to_string(),
            &release.created_by,
            release.created_at
        ],
    )
    .await?;
    Ok(())
}

/// Has a release whose program has not come wait for it from `now` on.
pub(crate) async fn wait_anew(tx: &mut Tx, id: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE agent_releases SET created_at = $2 WHERE id = $1 AND completed_at IS NULL",
        params![id, now],
    )
    .await?;
    Ok(())
}

/// Begins an upload in the place of one before it; what is incomplete is forgotten so long after `now`. `false`: the release is complete,
/// or there is none.
pub(crate) async fn begin_upload(
    tx: &mut Tx,
    id: &str,
    upload: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let begun = tx
        .execute(
            "UPDATE agent_releases SET upload = $2, created_at = $3 WHERE id = $1 AND completed_at IS NULL",
            params![id, upload, now],
        )
        .await?;
    if begun > 0 {
        tx.execute(
            "DELETE FROM agent_release_pieces WHERE release_id = $1",
            params![id],
        )
        .await?;
    }
    Ok(begun > 0)
}

/// Throws away what came of an upload, unless another one has begun.
pub(crate) async fn give_up_upload(tx: &mut Tx, id: &str, upload: &str) -> Result<(), StoreError> {
    let given_up = tx
        .execute(
            "UPDATE agent_releases SET upload = '' WHERE id = $1 AND upload = $2 AND completed_at IS NULL",
            params![id, upload],
        )
        .await?;
    if given_up > 0 {
        tx.execute(
            "DELETE FROM agent_release_pieces WHERE release_id = $1",
            params![id],
        )
        .await?;
    }
    Ok(())
}

macro_rules! insert_piece {
    ($lock:literal) => {
        concat!(
            "INSERT INTO agent_release_pieces (release_id, number, content)
             SELECT id, $3, $4 FROM agent_releases WHERE id = $1 AND upload = $2 AND completed_at IS NULL",
            $lock
        )
    };
}

/// PostgreSQL looks at the release again when another upload has begun in the meantime; SQLite has one writer.
const INSERT_PIECE: Statement =
    Statement::per_engine(insert_piece!(""), insert_piece!(" FOR SHARE"));

/// Stores a piece of an upload. `false`: another upload has begun.
pub(crate) async fn insert_piece(
    tx: &mut Tx,
    id: &str,
    upload: &str,
    number: u32,
    content: Vec<u8>,
) -> Result<bool, StoreError> {
    let inserted = tx
        .execute(INSERT_PIECE, params![id, upload, number, content])
        .await?;
    Ok(inserted > 0)
}

/// Notes that all of a program is there. `false`: another upload has begun.
pub(crate) async fn complete_release(
    tx: &mut Tx,
    id: &str,
    upload: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let completed = tx
        .execute(
            "UPDATE agent_releases SET completed_at = $3, upload = NULL WHERE id = $1 AND upload = $2 AND completed_at IS NULL",
            params![id, upload, now],
        )
        .await?;
    Ok(completed > 0)
}

/// Reads a piece of a program, numbered from 0. `None`: there is no more.
pub(crate) async fn find_piece(
    tx: &mut Tx,
    id: &str,
    number: u32,
) -> Result<Option<Bytes>, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT content FROM agent_release_pieces WHERE release_id = $1 AND number = $2",
            params![id, number],
        )
        .await?;
    row.map(|row| row.get::<Vec<u8>>("content").map(Bytes::from))
        .transpose()
}

/// Deletes a release with its program. Returns whether it was there.
pub(crate) async fn delete_release(tx: &mut Tx, id: &str) -> Result<bool, StoreError> {
    let deleted = tx
        .execute("DELETE FROM agent_releases WHERE id = $1", params![id])
        .await?;
    Ok(deleted > 0)
}

/// Forgets releases whose program never came, and roll-outs that ended before a time.
pub(crate) async fn forget(
    tx: &mut Tx,
    incomplete: Timestamp,
    ended: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM agent_releases WHERE completed_at IS NULL AND created_at < $1",
        params![incomplete],
    )
    .await?;
    tx.execute(
        "DELETE FROM agent_rollouts WHERE ended_at < $1",
        params![ended],
    )
    .await?;
    Ok(())
}

macro_rules! rollouts {
    ($rest:literal) => {
        concat!(
            "SELECT id, agent_version, stages, hold_ms, patience_ms, state, stage, reason, changed_by, version, created_at, updated_at, \
             ended_at FROM agent_rollouts ",
            $rest
        )
    };
}

fn read_rollout(row: &Row) -> Result<AgentRollout, StoreError> {
    let (version, stages): (String, String) = (row.get("agent_version")?, row.get("stages")?);
    let state: String = row.get("state")?;
    let read: Option<Vec<Stage>> = stages.split(',').map(|stage| stage.parse().ok()).collect();
    let read = read.and_then(|stages| Stages::new(stages).ok());
    Ok(AgentRollout {
        id: row.get("id")?,
        agent_version: version
            .parse()
            .map_err(|_| corrupt("agent_version", &version))?,
        stages: read.ok_or_else(|| corrupt("stages", &stages))?,
        hold: Duration::from_millis(row.get("hold_ms")?),
        patience: Duration::from_millis(row.get("patience_ms")?),
        state: AgentRolloutState::from_name(&state).ok_or_else(|| corrupt("state", &state))?,
        stage: row.get("stage")?,
        reason: row.get("reason")?,
        changed_by: row.get("changed_by")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        ended_at: row.get("ended_at")?,
    })
}

/// Finds the roll-out that is under way.
pub(crate) async fn find_open(tx: &mut Tx) -> Result<Option<AgentRollout>, StoreError> {
    tx.fetch_optional(
        rollouts!("WHERE ended_at IS NULL ORDER BY id DESC LIMIT 1"),
        (),
    )
    .await?
    .map(|row| read_rollout(&row))
    .transpose()
}

/// Finds a roll-out.
pub(crate) async fn find_rollout(
    tx: &mut Tx,
    id: RolloutId,
) -> Result<Option<AgentRollout>, StoreError> {
    tx.fetch_optional(rollouts!("WHERE id = $1"), params![id])
        .await?
        .map(|row| read_rollout(&row))
        .transpose()
}

/// Finds the newest roll-out.
pub(crate) async fn find_newest(tx: &mut Tx) -> Result<Option<AgentRollout>, StoreError> {
    tx.fetch_optional(rollouts!("ORDER BY id DESC LIMIT 1"), ())
        .await?
        .map(|row| read_rollout(&row))
        .transpose()
}

/// Lists roll-outs, the newest first, from before an id.
pub(crate) async fn list_rollouts(
    tx: &mut Tx,
    before: &str,
    (fetched, skipped): (u32, u32),
) -> Result<Vec<AgentRollout>, StoreError> {
    tx.fetch_all(
        rollouts!("WHERE id < $1 ORDER BY id DESC LIMIT $2 OFFSET $3"),
        params![before, fetched, skipped],
    )
    .await?
    .iter()
    .map(read_rollout)
    .collect()
}

/// Counts them, up to the bound of totals.
pub(crate) async fn count_rollouts(tx: &mut Tx) -> Result<u64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM (SELECT 1 FROM agent_rollouts LIMIT $1) AS counted",
            params![COUNTED],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("total"))
}

/// Stores a new roll-out.
pub(crate) async fn insert_rollout(tx: &mut Tx, rollout: &AgentRollout) -> Result<(), StoreError> {
    let stages: Vec<String> = rollout
        .stages
        .iter()
        .map(|stage| stage.to_string())
        .collect();
    tx.execute(
        "INSERT INTO agent_rollouts (id, agent_version, stages, hold_ms, patience_ms, state, stage, reason, changed_by, version, created_at,
             updated_at, ended_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        params![
            rollout.id,
            rollout.agent_version.to_string(),
            stages.join(","),
            millis(rollout.hold),
            millis(rollout.patience),
            rollout.state.as_str(),
            rollout.stage,
            rollout.reason.as_deref(),
            &rollout.changed_by,
            rollout.version,
            rollout.created_at,
            rollout.updated_at,
            rollout.ended_at
        ],
    )
    .await?;
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Stores what became of a roll-out, which was read at the version before. `false`: somebody else has changed it meanwhile.
pub(crate) async fn update_rollout(
    tx: &mut Tx,
    rollout: &AgentRollout,
) -> Result<bool, StoreError> {
    let changed = tx
        .execute(
            "UPDATE agent_rollouts SET state = $2, stage = $3, reason = $4, changed_by = $5, version = $6, updated_at = $7, ended_at = $8
             WHERE id = $1 AND version = $6 - 1",
            params![
                rollout.id,
                rollout.state.as_str(),
                rollout.stage,
                rollout.reason.as_deref(),
                &rollout.changed_by,
                rollout.version,
                rollout.updated_at,
                rollout.ended_at
            ],
        )
        .await?;
    Ok(changed > 0)
}

/// Lists the agents that were asked in a roll-out, by name.
pub(crate) async fn list_asked(tx: &mut Tx, id: RolloutId) -> Result<Vec<Asked>, StoreError> {
    tx.fetch_all(
        "SELECT node_id, node_name, stage, failed, asked_at FROM agent_rollout_nodes WHERE rollout_id = $1 ORDER BY node_name, node_id LIMIT $2",
        params![id, MAX_ASKED],
    )
    .await?
    .iter()
    .map(|row| {
        Ok(Asked {
            node: row.get("node_id")?,
            name: row.get("node_name")?,
            stage: row.get("stage")?,
            failed: row.get("failed")?,
            at: row.get("asked_at")?,
        })
    })
    .collect()
}

/// Notes that an agent is asked.
pub(crate) async fn insert_asked(
    tx: &mut Tx,
    id: RolloutId,
    asked: &Asked,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO agent_rollout_nodes (rollout_id, node_id, node_name, stage, failed, asked_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT DO NOTHING",
        params![
            id,
            asked.node,
            &asked.name,
            asked.stage,
            asked.failed.as_deref(),
            asked.at
        ],
    )
    .await?;
    Ok(())
}

/// Notes why an agent has not taken the version.
pub(crate) async fn fail_asked(
    tx: &mut Tx,
    id: RolloutId,
    node: NodeId,
    reason: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE agent_rollout_nodes SET failed = $3 WHERE rollout_id = $1 AND node_id = $2",
        params![id, node, reason],
    )
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
