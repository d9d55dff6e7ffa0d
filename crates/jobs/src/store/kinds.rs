//! The SQL of looking after kinds of work: paused, counted, scheduled, replayed, taken as a duty.

use ::store::{Row, StoreError, Tx, params};
use primitives::{JobId, Timestamp};

use crate::engine::counts::Came;
use crate::engine::schedule::{ScheduleSpec, ScheduleState};

/// Notes that a kind exists.
pub(crate) async fn announce_kind(tx: &mut Tx, kind: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO job_kinds (kind) VALUES ($1) ON CONFLICT (kind) DO NOTHING",
        params![kind],
    )
    .await?;
    Ok(())
}

/// Lists the kinds, and since when they are paused.
pub(crate) async fn list_kinds(
    tx: &mut Tx,
) -> Result<Vec<(String, Option<Timestamp>)>, StoreError> {
    tx.fetch_all(
        "SELECT kind, paused_at FROM job_kinds ORDER BY kind LIMIT 1000",
        (),
    )
    .await?
    .iter()
    .map(|row| Ok((row.get("kind")?, row.get("paused_at")?)))
    .collect()
}

/// Pauses a kind, or lets it go on. `false`: there is no such kind.
pub(crate) async fn pause_kind(
    tx: &mut Tx,
    kind: &str,
    paused_at: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let changed = tx
        .execute(
            "UPDATE job_kinds SET paused_at = CASE WHEN $2 IS NULL THEN NULL ELSE COALESCE(paused_at, $2) END WHERE kind = $1",
            params![kind, paused_at],
        )
        .await?;
    Ok(changed > 0)
}

/// What waits of a kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waits {
    pub(crate) queued: u64,
    /// When the one that has been due for longest was due.
    pub(crate) oldest: Option<Timestamp>,
}

/// Counts what waits, by kind.
pub(crate) async fn count_queued(tx: &mut Tx) -> Result<Vec<(String, Waits)>, StoreError> {
    tx.fetch_all(
        "SELECT kind, CAST(count(*) AS BIGINT) AS queued, CAST(min(run_at) AS BIGINT) AS oldest
         FROM jobs WHERE state = 'queued' GROUP BY kind",
        (),
    )
    .await?
    .iter()
    .map(|row| {
        let waits = Waits {
            queued: row.get("queued")?,
            oldest: row.get("oldest")?,
        };
        Ok((row.get("kind")?, waits))
    })
    .collect()
}

fn by_kind(rows: &[Row]) -> Result<Vec<(String, u64)>, StoreError> {
    rows.iter()
        .map(|row| Ok((row.get("kind")?, row.get("jobs")?)))
        .collect()
}

/// Counts what runs, by kind.
pub(crate) async fn count_all_running(tx: &mut Tx) -> Result<Vec<(String, u64)>, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT kind, CAST(count(*) AS BIGINT) AS jobs FROM jobs WHERE state = 'running' GROUP BY kind",
            (),
        )
        .await?;
    by_kind(&rows)
}

/// Counts what has failed and is kept, by kind.
pub(crate) async fn count_dead(tx: &mut Tx) -> Result<Vec<(String, u64)>, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT kind, CAST(count(*) AS BIGINT) AS jobs FROM jobs WHERE state = 'failed' AND ended_at IS NOT NULL GROUP BY kind",
            (),
        )
        .await?;
    by_kind(&rows)
}

/// Adds to what came of a kind in a minute.
pub(crate) async fn add_counts(
    tx: &mut Tx,
    kind: &str,
    minute: i64,
    came: Came,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO job_counts (kind, minute, completed, failed, retried) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (kind, minute) DO UPDATE SET completed = job_counts.completed + excluded.completed,
             failed = job_counts.failed + excluded.failed, retried = job_counts.retried + excluded.retried",
        params![kind, minute, came.completed, came.failed, came.retried],
    )
    .await?;
    Ok(())
}

/// Sums what came of each kind since a time.
pub(crate) async fn sum_counts(
    tx: &mut Tx,
    since: Timestamp,
) -> Result<Vec<(String, Came)>, StoreError> {
    tx.fetch_all(
        "SELECT kind, CAST(sum(completed) AS BIGINT) AS completed, CAST(sum(failed) AS BIGINT) AS failed,
             CAST(sum(retried) AS BIGINT) AS retried FROM job_counts WHERE minute >= $1 GROUP BY kind",
        params![since],
    )
    .await?
    .iter()
    .map(|row| {
        let came = Came {
            completed: row.get("completed")?,
            failed: row.get("failed")?,
            retried: row.get("retried")?,
        };
        Ok((row.get("kind")?, came))
    })
    .collect()
}

/// Deletes sums before a time, and rates whose windows closed long ago.
pub(crate) async fn delete_counts(tx: &mut Tx, before: Timestamp) -> Result<(), StoreError> {
    tx.execute("DELETE FROM job_counts WHERE minute < $1", params![before])
        .await?;
    tx.execute(
        "DELETE FROM job_rates WHERE window_at < $1",
        params![before],
    )
    .await?;
    Ok(())
}

/// Stores a schedule that is new or has changed.
pub(crate) async fn put_schedule(
    tx: &mut Tx,
    spec: &ScheduleSpec,
    next: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO job_schedules (name, kind, cron, zone, next_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, cron = excluded.cron, zone = excluded.zone, next_at = excluded.next_at
         WHERE job_schedules.kind <> excluded.kind OR job_schedules.cron <> excluded.cron OR job_schedules.zone <> excluded.zone",
        params![spec.name, spec.kind, spec.cron.text(), spec.cron.zone(), next],
    )
    .await?;
    Ok(())
}

fn read_schedule(row: &Row) -> Result<ScheduleState, StoreError> {
    Ok(ScheduleState {
        name: row.get("name")?,
        kind: row.get("kind")?,
        cron: row.get("cron")?,
        zone: row.get("zone")?,
        next_at: row.get("next_at")?,
        last_at: row.get("last_at")?,
    })
}

/// Lists the schedules.
pub(crate) async fn list_schedules(tx: &mut Tx) -> Result<Vec<ScheduleState>, StoreError> {
    tx.fetch_all(
        "SELECT name, kind, cron, zone, next_at, last_at FROM job_schedules ORDER BY name LIMIT 1000",
        (),
    )
    .await?
    .iter()
    .map(read_schedule)
    .collect()
}

/// Lists the schedules that are due.
pub(crate) async fn due_schedules(
    tx: &mut Tx,
    now: Timestamp,
) -> Result<Vec<ScheduleState>, StoreError> {
    tx.fetch_all(
        "SELECT name, kind, cron, zone, next_at, last_at FROM job_schedules WHERE next_at <= $1 ORDER BY name LIMIT 1000",
        params![now],
    )
    .await?
    .iter()
    .map(read_schedule)
    .collect()
}

/// Moves a schedule on. `false`: somebody else has.
pub(crate) async fn move_schedule(
    tx: &mut Tx,
    name: &str,
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let moved = tx
        .execute(
            "UPDATE job_schedules SET next_at = $3, last_at = $4 WHERE name = $1 AND next_at = $2",
            params![name, from, to, now],
        )
        .await?;
    Ok(moved > 0)
}

/// Takes or keeps a duty; returns its term, or `None` when another has it.
pub(crate) async fn take_duty(
    tx: &mut Tx,
    name: &str,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<u64>, StoreError> {
    tx.fetch_optional(
        "INSERT INTO job_duties (name, holder, until, term) VALUES ($1, $2, $4, 1)
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,
             term = CASE WHEN job_duties.holder = excluded.holder THEN job_duties.term ELSE job_duties.term + 1 END
         WHERE job_duties.holder = excluded.holder OR job_duties.until < $3
         RETURNING term",
        params![name, holder, now, until],
    )
    .await?
    .map(|row| row.get("term"))
    .transpose()
}

/// A job that has failed, without what it holds.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    pub(crate) id: JobId,
    pub(crate) kind: String,
    pub(crate) lane: String,
    pub(crate) attempt: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) ended_at: Timestamp,
    pub(crate) error: Option<String>,
    pub(crate) error_kind: Option<String>,
}

/// Lists jobs that have failed and are kept, the newest first.
pub(crate) async fn list_dead(
    tx: &mut Tx,
    kind: &str,
    before: &str,
    most: u32,
) -> Result<Vec<Dead>, StoreError> {
    tx.fetch_all(
        "SELECT id, kind, lane, attempt, created_at, ended_at, error, error_kind FROM jobs
         WHERE state = 'failed' AND ended_at IS NOT NULL AND kind = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        params![kind, before, most],
    )
    .await?
    .iter()
    .map(|row| {
        Ok(Dead {
            id: row.get("id")?,
            kind: row.get("kind")?,
            lane: row.get("lane")?,
            attempt: row.get("attempt")?,
            created_at: row.get("created_at")?,
            ended_at: row.get("ended_at")?,
            error: row.get("error")?,
            error_kind: row.get("error_kind")?,
        })
    })
    .collect()
}

/// Makes a job due again that has failed. `false`: there is none that has failed, what it was asked for is gone, or another
/// with its unique key has not ended.
pub(crate) async fn replay(tx: &mut Tx, id: JobId, now: Timestamp) -> Result<bool, StoreError> {
    let changed = tx
        .execute(
            "UPDATE jobs SET state = 'queued', ended_at = NULL, run_at = $2, created_at = $2, attempt = 0, error = NULL, error_kind = NULL
             WHERE id = $1 AND state = 'failed' AND (owner = '' OR payload_sealed IS NOT NULL)
                 AND NOT EXISTS (SELECT 1 FROM jobs live WHERE live.kind = jobs.kind AND live.unique_key = jobs.unique_key
                     AND live.unique_key IS NOT NULL AND live.ended_at IS NULL)",
            params![id, now],
        )
        .await?;
    Ok(changed > 0)
}

/// Calls a job off that has neither an owner nor an end. `false`: there is none.
pub(crate) async fn cancel_work(
    tx: &mut Tx,
    id: JobId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = tx
        .execute(
            "UPDATE jobs SET state = 'cancelled', ended_at = $2, payload_sealed = NULL, lease_until = NULL, leased_by = NULL
             WHERE id = $1 AND owner = '' AND ended_at IS NULL",
            params![id, now],
        )
        .await?;
    Ok(changed > 0)
}
