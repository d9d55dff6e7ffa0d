//! The SQL of looking at jobs. Every query names the owner.

use ::store::{Param, StoreError, Tx, params};
use primitives::{COUNTED, JobId};

use super::read_job;
use crate::list::{JobFilter, JobPosition, JobSort};
use crate::model::{ChunkNumber, Job, JobKind, JobState, Owner, caller_text};

/// Finds an owner's job, with its sealed result.
pub(crate) async fn find_job(
    tx: &mut Tx,
    owner: Owner,
    id: JobId,
) -> Result<Option<(Job, Option<Vec<u8>>)>, StoreError> {
    tx.fetch_optional(
        concat!(
            "SELECT result_sealed, ",
            columns!(),
            " FROM jobs WHERE id = $1 AND org_id = $2 AND owner = $3 AND owner <> ''"
        ),
        params![id, owner.org, caller_text(owner.who)],
    )
    .await?
    .map(|row| Ok((read_job(&row)?, row.get("result_sealed")?)))
    .transpose()
}

/// Words the part of a list that narrows it; `$1` to `$5` are [`narrowed`].
macro_rules! of_owner {
    ($before:expr, $after:literal) => {
        concat!(
            $before,
            " FROM jobs WHERE org_id = $1 AND owner = $2 AND owner <> '' AND (CAST($3 AS TEXT) IS NULL OR state = $3)
             AND (CAST($4 AS TEXT) IS NULL OR kind = $4) AND (CAST($5 AS TEXT) IS NULL OR subject = $5) ",
            $after
        )
    };
}

fn narrowed(owner: Owner, filter: &JobFilter) -> Vec<Param> {
    vec![
        owner.org.into(),
        caller_text(owner.who).into(),
        filter.state.map(JobState::as_str).into(),
        filter.kind.map(JobKind::as_str).into(),
        filter.subject.as_deref().into(),
    ]
}

/// Lists an owner's jobs.
pub(crate) async fn list_jobs(
    tx: &mut Tx,
    owner: Owner,
    filter: &JobFilter,
    sort: JobSort,
    from: &JobPosition,
) -> Result<Vec<Job>, StoreError> {
    let sql = match sort {
        JobSort::Newest => of_owner!(
            concat!("SELECT ", columns!()),
            "AND id < $6 ORDER BY id DESC LIMIT $7 OFFSET $8"
        ),
        JobSort::Oldest => of_owner!(
            concat!("SELECT ", columns!()),
            "AND id > $6 ORDER BY id LIMIT $7 OFFSET $8"
        ),
    };
    let mut values = narrowed(owner, filter);
    values.extend([
        from.id.as_str().into(),
        from.fetched.into(),
        from.skipped.into(),
    ]);
    tx.fetch_all(sql, values)
        .await?
        .iter()
        .map(read_job)
        .collect()
}

/// Counts them, up to the bound of totals.
pub(crate) async fn count_jobs(
    tx: &mut Tx,
    owner: Owner,
    filter: &JobFilter,
) -> Result<u64, StoreError> {
    let mut values = narrowed(owner, filter);
    values.push(COUNTED.into());
    let row = tx
        .fetch_optional(
            of_owner!(
                "SELECT CAST(count(*) AS BIGINT) AS total FROM (SELECT 1",
                "LIMIT $6) AS counted"
            ),
            values,
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("total"))
}

/// Returns pieces of output after `after`, in order, at most `most`.
pub(crate) async fn chunks_after(
    tx: &mut Tx,
    id: JobId,
    after: ChunkNumber,
    most: u32,
) -> Result<Vec<(ChunkNumber, Vec<u8>)>, StoreError> {
    tx.fetch_all(
        "SELECT number, output_sealed FROM job_chunks WHERE job_id = $1 AND number > $2 ORDER BY number LIMIT $3",
        params![id, after, most],
    )
    .await?
    .iter()
    .map(|row| Ok((row.get("number")?, row.get("output_sealed")?)))
    .collect()
}
