//! The SQL of the journal of changes.

use ::store::{Param, Row, StoreError, Tx, params};
use primitives::{COUNTED, PageRequest, Timestamp};

use super::read_total;
use crate::audit::{AuditFilter, AuditRecord, ChainHash};
use crate::organisations::OrgScope;

const HEAD: &str = "audit.head";
const BASE: &str = "audit.base";

fn read(row: &Row) -> Result<(AuditRecord, ChainHash), StoreError> {
    let record = AuditRecord {
        seq: row.get("seq")?,
        at: row.get("at")?,
        action: row.get("action")?,
        actor_kind: row.get("actor_kind")?,
        actor_id: row.get("actor_id")?,
        actor_name: row.get("actor_name")?,
        org_id: row.get("org_id")?,
        subject_kind: row.get("subject_kind")?,
        subject_id: row.get("subject_id")?,
        ip: row.get("ip")?,
        user_agent: row.get("user_agent")?,
        old: row.get("old")?,
        new: row.get("new")?,
    };
    Ok((record, read_hash(row)?))
}

fn read_hash(row: &Row) -> Result<ChainHash, StoreError> {
    ChainHash::from_slice(&row.get::<Vec<u8>>("hash")?).ok_or_else(|| StoreError::Corrupt {
        column: "hash".to_owned(),
        reason: "not 32 bytes".to_owned(),
    })
}

async fn find_mark(tx: &mut Tx, key: &str) -> Result<Option<(i64, ChainHash)>, StoreError> {
    let row = tx
        .fetch_optional("SELECT value FROM settings WHERE key = $1", params![key])
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let value: String = row.get("value")?;
    let mark = value
        .split_once(':')
        .and_then(|(seq, hash)| Some((seq.parse().ok()?, ChainHash::from_hex(hash)?)));
    mark.map(Some).ok_or_else(|| StoreError::Corrupt {
        column: "value".to_owned(),
        reason: format!("{key} is not a number and a hash"),
    })
}

async fn set_mark(tx: &mut Tx, key: &str, seq: i64, hash: ChainHash) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![key, format!("{seq}:{}", hash.to_hex())],
    )
    .await?;
    Ok(())
}

/// Returns the number and the hash of the last record ever written.
pub(crate) async fn audit_head(tx: &mut Tx) -> Result<Option<(i64, ChainHash)>, StoreError> {
    find_mark(tx, HEAD).await
}

pub(crate) async fn set_audit_head(
    tx: &mut Tx,
    seq: i64,
    hash: ChainHash,
) -> Result<(), StoreError> {
    set_mark(tx, HEAD, seq, hash).await
}

/// Returns the number and the hash of the last record that was removed for its age.
pub(crate) async fn audit_base(tx: &mut Tx) -> Result<Option<(i64, ChainHash)>, StoreError> {
    find_mark(tx, BASE).await
}

pub(crate) async fn set_audit_base(
    tx: &mut Tx,
    seq: i64,
    hash: ChainHash,
) -> Result<(), StoreError> {
    set_mark(tx, BASE, seq, hash).await
}

pub(crate) async fn insert_audit(
    tx: &mut Tx,
    record: &AuditRecord,
    hash: ChainHash,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO audit_log (seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, ip,
             user_agent, old, new, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        params![
            record.seq,
            record.at,
            &record.action,
            &record.actor_kind,
            record.actor_id.as_deref(),
            &record.actor_name,
            record.org_id,
            &record.subject_kind,
            record.subject_id.as_deref(),
            record.ip.as_deref(),
            record.user_agent.as_deref(),
            record.old.as_deref(),
            record.new.as_deref(),
            hash.as_bytes()
        ],
    )
    .await?;
    Ok(())
}

/// Words a query of the journal for each filter that can lead it: the one that names the fewest records goes by its index.
/// The parameters `$1` to `$6` are the filters, in the order of [`filters`].
macro_rules! led {
    ($filter:expr, $scope:expr, $before:literal, $after:literal) => {
        match ($filter, $scope) {
            (AuditFilter { subject_id: Some(_), .. }, _) => led!(@ $before, "subject_id = $4", $after),
            (AuditFilter { actor_id: Some(_), .. }, _) => led!(@ $before, "actor_id = $3", $after),
            (AuditFilter { action: Some(_), .. }, _) => led!(@ $before, "action = $2", $after),
            (_, OrgScope::One(_)) => led!(@ $before, "org_id = $1", $after),
            (_, OrgScope::All) => led!(@ $before, "seq > 0", $after),
        }
    };
    (@ $before:literal, $leader:literal, $after:literal) => {
        concat!(
            $before, " FROM audit_log WHERE ", $leader,
            " AND (CAST($1 AS TEXT) IS NULL OR org_id = $1) AND (CAST($2 AS TEXT) IS NULL OR action = $2)
              AND (CAST($3 AS TEXT) IS NULL OR actor_id = $3) AND (CAST($4 AS TEXT) IS NULL OR subject_id = $4)
              AND (CAST($5 AS BIGINT) IS NULL OR at >= $5) AND (CAST($6 AS BIGINT) IS NULL OR at < $6) ",
            $after
        )
    };
}

fn filters(scope: OrgScope, filter: &AuditFilter) -> [Param; 6] {
    [
        scope.id().into(),
        filter.action.as_deref().into(),
        filter.actor_id.as_deref().into(),
        filter.subject_id.as_deref().into(),
        filter.since.into(),
        filter.until.into(),
    ]
}

/// Lists records before `before`, the newest first, and counts them.
pub(crate) async fn list_audit(
    tx: &mut Tx,
    scope: OrgScope,
    filter: &AuditFilter,
    before: i64,
    page: &PageRequest,
) -> Result<(Vec<AuditRecord>, u64), StoreError> {
    let list = led!(
        filter,
        scope,
        "SELECT seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, ip, user_agent, old, new, hash",
        "AND seq < $7 ORDER BY seq DESC LIMIT $8 OFFSET $9"
    );
    let count = led!(
        filter,
        scope,
        "SELECT CAST(count(*) AS BIGINT) AS total FROM (SELECT 1",
        "LIMIT $7) AS counted"
    );
    let mut values = Vec::from(filters(scope, filter));
    values.extend([
        before.into(),
        (page.size() + 1).into(),
        page.skipped().into(),
    ]);
    let found = tx
        .fetch_all(list, values)
        .await?
        .iter()
        .map(|row| read(row).map(|(record, _)| record))
        .collect::<Result<_, _>>()?;
    let mut values = Vec::from(filters(scope, filter));
    values.push(COUNTED.into());
    let total = tx.fetch_optional(count, values).await?;
    Ok((found, read_total(total.as_ref())?))
}

/// Returns the records after `seq` with their hashes, the oldest first.
pub(crate) async fn audit_after(
    tx: &mut Tx,
    seq: i64,
    limit: u32,
) -> Result<Vec<(AuditRecord, ChainHash)>, StoreError> {
    tx.fetch_all(
        "SELECT seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, ip, user_agent, old, new, hash
         FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2",
        params![seq, limit],
    )
    .await?
    .iter()
    .map(read)
    .collect()
}

/// Returns the last record that was written before this time and after which none is older.
pub(crate) async fn last_audit_before(
    tx: &mut Tx,
    cutoff: Timestamp,
) -> Result<Option<(i64, ChainHash)>, StoreError> {
    tx.fetch_optional(
        "SELECT seq, hash FROM audit_log
         WHERE seq < (SELECT COALESCE(min(seq), 9223372036854775807) FROM audit_log WHERE at >= $1)
         ORDER BY seq DESC LIMIT 1",
        params![cutoff],
    )
    .await?
    .map(|row| Ok((row.get("seq")?, read_hash(&row)?)))
    .transpose()
}

pub(crate) async fn delete_audit_up_to(tx: &mut Tx, seq: i64) -> Result<u64, StoreError> {
    tx.execute("DELETE FROM audit_log WHERE seq <= $1", params![seq])
        .await
}
