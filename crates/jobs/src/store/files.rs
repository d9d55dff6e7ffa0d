//! The SQL of files. Every query that somebody asks for names the owner.

use ::store::{Row, StoreError, Tx, params};
use primitives::{OrgId, Timestamp};

use super::read_name;
use crate::files::{File, FileId, Purpose};
use crate::model::{Owner, caller_text, read_caller};

pub(crate) async fn insert_file(tx: &mut Tx, file: &File) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO files (id, org_id, owner, name, purpose, bytes, pieces, complete, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            &file.id.0,
            file.owner.org,
            caller_text(file.owner.who),
            &file.name,
            file.purpose.as_str(),
            file.bytes,
            file.pieces,
            false,
            file.created_at,
            file.expires_at
        ],
    )
    .await?;
    Ok(())
}

/// Shows a file from here on.
pub(crate) async fn complete_file(tx: &mut Tx, file: &File) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE files SET complete = $2, bytes = $3, pieces = $4, name = $5 WHERE id = $1",
        params![&file.id.0, true, file.bytes, file.pieces, &file.name],
    )
    .await?;
    Ok(())
}

pub(crate) async fn count_files(tx: &mut Tx, org: OrgId) -> Result<u64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS files FROM files WHERE org_id = $1",
            params![org],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("files"))
}

fn read_file(row: &Row) -> Result<File, StoreError> {
    Ok(File {
        id: FileId(row.get("id")?),
        owner: Owner {
            org: row.get("org_id")?,
            who: read_name(row, "owner", read_caller)?,
        },
        name: row.get("name")?,
        purpose: read_name(row, "purpose", Purpose::from_name)?,
        bytes: row.get("bytes")?,
        pieces: row.get("pieces")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
    })
}

pub(crate) async fn find_file(
    tx: &mut Tx,
    owner: Owner,
    id: &str,
) -> Result<Option<File>, StoreError> {
    tx.fetch_optional(
        "SELECT id, org_id, owner, name, purpose, bytes, pieces, created_at, expires_at FROM files
         WHERE id = $1 AND org_id = $2 AND owner = $3 AND complete",
        params![id, owner.org, caller_text(owner.who)],
    )
    .await?
    .as_ref()
    .map(read_file)
    .transpose()
}

pub(crate) async fn list_files(
    tx: &mut Tx,
    owner: Owner,
    purpose: Option<Purpose>,
    before: &str,
    most: u32,
) -> Result<Vec<File>, StoreError> {
    tx.fetch_all(
        "SELECT id, org_id, owner, name, purpose, bytes, pieces, created_at, expires_at FROM files
         WHERE org_id = $1 AND owner = $2 AND id < $3 AND complete AND (CAST($4 AS TEXT) IS NULL OR purpose = $4)
         ORDER BY id DESC LIMIT $5",
        params![
            owner.org,
            caller_text(owner.who),
            before,
            purpose.map(Purpose::as_str),
            most
        ],
    )
    .await?
    .iter()
    .map(read_file)
    .collect()
}

pub(crate) async fn insert_piece(
    tx: &mut Tx,
    file: &str,
    number: i64,
    sealed: Vec<u8>,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO file_pieces (file_id, number, content_sealed) VALUES ($1, $2, $3)",
        params![file, number, sealed],
    )
    .await?;
    Ok(())
}

pub(crate) async fn find_piece(
    tx: &mut Tx,
    file: &str,
    number: i64,
) -> Result<Option<Vec<u8>>, StoreError> {
    tx.fetch_optional(
        "SELECT content_sealed FROM file_pieces WHERE file_id = $1 AND number = $2",
        params![file, number],
    )
    .await?
    .map(|row| row.get("content_sealed"))
    .transpose()
}

pub(crate) async fn delete_file(tx: &mut Tx, owner: Owner, id: &str) -> Result<bool, StoreError> {
    let deleted = tx
        .execute(
            "DELETE FROM files WHERE id = $1 AND org_id = $2 AND owner = $3 AND complete",
            params![id, owner.org, caller_text(owner.who)],
        )
        .await?;
    Ok(deleted > 0)
}

/// Deletes a file, complete or not.
pub(crate) async fn erase_file(tx: &mut Tx, id: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM files WHERE id = $1", params![id])
        .await?;
    Ok(())
}

/// Deletes some of an owner's files; returns how many.
pub(crate) async fn erase_files(tx: &mut Tx, owner: Owner, most: u32) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM files WHERE id IN (SELECT id FROM files WHERE org_id = $1 AND owner = $2 ORDER BY id LIMIT $3)",
        params![owner.org, caller_text(owner.who), most],
    )
    .await
}

/// Deletes some of the files whose time is over, or that were begun before a time and never completed; returns how many.
pub(crate) async fn delete_expired_files(
    tx: &mut Tx,
    now: Timestamp,
    begun_before: Timestamp,
    most: u32,
) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM files WHERE id IN (SELECT id FROM files WHERE expires_at < $1
             OR (NOT complete AND created_at < $2) ORDER BY id LIMIT $3)",
        params![now, begun_before, most],
    )
    .await
}

/// Lists pieces after one, in order, with what is sealed.
pub(crate) async fn file_pieces_after(
    tx: &mut Tx,
    (file, number): (&str, i64),
    most: u32,
) -> Result<Vec<(String, i64, Vec<u8>)>, StoreError> {
    tx.fetch_all(
        "SELECT file_id, number, content_sealed FROM file_pieces WHERE (file_id, number) > ($1, $2) ORDER BY file_id, number LIMIT $3",
        params![file, number, most],
    )
    .await?
    .iter()
    .map(|row| Ok((row.get("file_id")?, row.get("number")?, row.get("content_sealed")?)))
    .collect()
}

/// Writes a piece that was sealed anew.
pub(crate) async fn put_file_piece(
    tx: &mut Tx,
    file: &str,
    number: i64,
    sealed: Vec<u8>,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE file_pieces SET content_sealed = $3 WHERE file_id = $1 AND number = $2",
        params![file, number, sealed],
    )
    .await?;
    Ok(())
}
