//! The SQL of what jobs hold: exported and erased with their owner, sealed anew with another key.

use ::store::{StoreError, Tx, params};
use primitives::JobId;

use super::read_job;
use crate::model::{ChunkNumber, Job, Owner, caller_text};

/// A job with its sealed payload and result.
pub(crate) type WithContents = (Job, Option<Vec<u8>>, Option<Vec<u8>>);

/// Lists an owner's jobs after an id with what is sealed, in order.
pub(crate) async fn jobs_with_contents(
    tx: &mut Tx,
    owner: Owner,
    after: &str,
    most: u32,
) -> Result<Vec<WithContents>, StoreError> {
    tx.fetch_all(
        concat!(
            "SELECT payload_sealed, result_sealed, ",
            columns!(),
            " FROM jobs WHERE org_id = $1 AND owner = $2 AND owner <> '' AND id > $3 ORDER BY id LIMIT $4"
        ),
        params![owner.org, caller_text(owner.who), after, most],
    )
    .await?
    .iter()
    .map(|row| {
        Ok((
            read_job(row)?,
            row.get("payload_sealed")?,
            row.get("result_sealed")?,
        ))
    })
    .collect()
}

/// Deletes some of an owner's jobs, whatever their state, with their output. Returns their ids.
pub(crate) async fn erase_jobs(
    tx: &mut Tx,
    owner: Owner,
    most: u32,
) -> Result<Vec<JobId>, StoreError> {
    tx.fetch_all(
        "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE org_id = $1 AND owner = $2 AND owner <> '' ORDER BY id LIMIT $3) RETURNING id",
        params![owner.org, caller_text(owner.who), most],
    )
    .await?
    .iter()
    .map(|row| row.get("id"))
    .collect()
}

/// Sealed values of a job.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) id: JobId,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) result: Option<Vec<u8>>,
}

/// Lists what jobs after an id hold, in order.
pub(crate) async fn sealed_after(
    tx: &mut Tx,
    after: &str,
    most: u32,
) -> Result<Vec<Sealed>, StoreError> {
    tx.fetch_all(
        "SELECT id, payload_sealed, result_sealed FROM jobs WHERE id > $1 ORDER BY id LIMIT $2",
        params![after, most],
    )
    .await?
    .iter()
    .map(|row| {
        Ok(Sealed {
            id: row.get("id")?,
            payload: row.get("payload_sealed")?,
            result: row.get("result_sealed")?,
        })
    })
    .collect()
}

/// Writes a payload that was sealed anew, unless it was taken away meanwhile.
pub(crate) async fn put_payload(tx: &mut Tx, id: JobId, sealed: Vec<u8>) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE jobs SET payload_sealed = $2 WHERE id = $1 AND payload_sealed IS NOT NULL",
        params![id, sealed],
    )
    .await?;
    Ok(())
}

/// Writes a result that was sealed anew.
pub(crate) async fn put_result(tx: &mut Tx, id: JobId, sealed: Vec<u8>) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE jobs SET result_sealed = $2 WHERE id = $1",
        params![id, sealed],
    )
    .await?;
    Ok(())
}

/// Lists pieces of output after one, in order of jobs and numbers.
pub(crate) async fn pieces_after(
    tx: &mut Tx,
    (job, number): (&str, ChunkNumber),
    most: u32,
) -> Result<Vec<(JobId, ChunkNumber, Vec<u8>)>, StoreError> {
    tx.fetch_all(
        "SELECT job_id, number, output_sealed FROM job_chunks WHERE (job_id, number) > ($1, $2) ORDER BY job_id, number LIMIT $3",
        params![job, number, most],
    )
    .await?
    .iter()
    .map(|row| Ok((row.get("job_id")?, row.get("number")?, row.get("output_sealed")?)))
    .collect()
}

/// Writes a piece of output that was sealed anew.
pub(crate) async fn put_piece(
    tx: &mut Tx,
    job: JobId,
    number: ChunkNumber,
    sealed: Vec<u8>,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE job_chunks SET output_sealed = $3 WHERE job_id = $1 AND number = $2",
        params![job, number, sealed],
    )
    .await?;
    Ok(())
}
