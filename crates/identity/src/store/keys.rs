//! The SQL of API keys.

use std::sync::LazyLock;

use ::store::{Db, Json, Row, StoreError, Tx, params};
use primitives::{COUNTED, KeyId, OrgId, Timestamp, UserId};

use super::append::{ChangeSql, RowChange, RowVersion};
use super::{Counted, read_counted, read_limits, read_priority, read_scopes, read_total};
use crate::credential::SecretHash;
use crate::keys::{ApiKey, KeyStatus};
use crate::listing::{Listing, Position, sorted};
use crate::model::PriorityClass;
use crate::organisations::OrgScope;

/// Counts the keys that are not revoked.
pub(crate) async fn count_live_keys(tx: &mut Tx, org: OrgId) -> Result<Counted, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(count(*) FILTER (WHERE org_id = $1) AS BIGINT) AS own_count, CAST(count(*) AS BIGINT) AS all_count
             FROM api_keys WHERE revoked_at IS NULL",
            params![org],
        )
        .await?;
    read_counted(row.as_ref())
}

/// Tells whether a person has a key of this name that still works at `now`. Keys of nobody count as one owner's.
pub(crate) async fn has_live_key_named(
    tx: &mut Tx,
    owner: Option<UserId>,
    name: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT id FROM api_keys
             WHERE user_id IS NOT DISTINCT FROM CAST($1 AS TEXT) AND name = $2 AND revoked_at IS NULL
                 AND (expires_at IS NULL OR expires_at > $3) LIMIT 1",
            params![owner, name, now],
        )
        .await?;
    Ok(row.is_some())
}

pub(crate) fn insert_key(
    key: &ApiKey,
    secret_hash: &SecretHash,
    user_id: Option<UserId>,
) -> RowChange {
    static SQL: LazyLock<ChangeSql> = LazyLock::new(|| {
        ChangeSql::inserting(
            "INSERT INTO api_keys (id, org_id, name, prefix, secret_hash, user_id, models, scopes, priority,
             requests_per_minute, tokens_per_minute, tokens_per_month, share_identical, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        )
    });
    RowChange {
        sql: &SQL,
        params: params![
            key.id,
            key.org_id,
            &key.name,
            &key.prefix,
            secret_hash.as_bytes(),
            user_id,
            key.models.as_ref().map(|models| serde_json::json!(models)),
            serde_json::json!(key.scope.names()),
            key.priority.map(PriorityClass::as_str),
            key.limits.requests_per_minute,
            key.limits.tokens_per_minute,
            key.limits.tokens_per_month,
            key.share_identical,
            key.created_at,
            key.expires_at,
        ],
        seen: None,
    }
}

/// Lists keys, and counts them.
pub(crate) async fn list_keys(
    tx: &mut Tx,
    scope: OrgScope,
    status: Option<KeyStatus>,
    listing: &Listing,
    position: &Position,
    now: Timestamp,
) -> Result<(Vec<ApiKey>, u64), StoreError> {
    let sql = sorted!(
        listing.sort,
        "SELECT k.id, k.org_id, k.name, k.prefix, k.models, k.scopes, k.priority, k.requests_per_minute, k.tokens_per_minute,
             k.tokens_per_month, k.share_identical, k.created_at, k.expires_at, k.revoked_at, k.last_used_at,
             u.disabled_at AS owner_disabled_at
         FROM api_keys k LEFT JOIN users u ON u.id = k.user_id
         WHERE (CAST($5 AS TEXT) IS NULL OR k.org_id = $5)
             AND (CAST($6 AS TEXT) IS NULL OR $6 = CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
                 WHEN k.expires_at <= CAST($7 AS BIGINT) THEN 'expired' WHEN u.disabled_at IS NOT NULL THEN 'owner_disabled'
                 ELSE 'active' END)
             AND (CAST($8 AS TEXT) IS NULL OR lower(k.name) LIKE $8 ESCAPE '\\')",
        "k.id",
        "k.name"
    );
    let (status, pattern) = (status.map(KeyStatus::as_str), listing.pattern());
    let found = tx
        .fetch_all(
            sql,
            params![
                position.name.as_str(),
                position.id.as_str(),
                position.fetched,
                position.skipped,
                scope.id(),
                status,
                now,
                pattern.as_deref()
            ],
        )
        .await?
        .iter()
        .map(read_key)
        .collect::<Result<_, _>>()?;
    let total = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM (
                 SELECT 1 FROM api_keys k LEFT JOIN users u ON u.id = k.user_id
                 WHERE (CAST($1 AS TEXT) IS NULL OR k.org_id = $1)
                     AND (CAST($2 AS TEXT) IS NULL OR $2 = CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
                         WHEN k.expires_at <= CAST($3 AS BIGINT) THEN 'expired'
                         WHEN u.disabled_at IS NOT NULL THEN 'owner_disabled' ELSE 'active' END)
                     AND (CAST($4 AS TEXT) IS NULL OR lower(k.name) LIKE $4 ESCAPE '\\') LIMIT $5
             ) AS counted",
            params![scope.id(), status, now, pattern.as_deref(), COUNTED],
        )
        .await?;
    Ok((found, read_total(total.as_ref())?))
}

/// A key with whom it belongs to.
#[derive(Debug)]
pub(crate) struct FoundKey {
    pub(crate) key: ApiKey,
    pub(crate) owner: Option<UserId>,
    /// How it was, where it was read ahead of the change.
    pub(crate) seen: Option<RowVersion>,
}

/// Words how a key is found, with further columns.
macro_rules! key_found {
    ($columns:literal) => {
        concat!(
            "SELECT k.id, k.org_id, k.name, k.prefix, k.models, k.scopes, k.priority, k.requests_per_minute, k.tokens_per_minute,
                 k.tokens_per_month, k.share_identical, k.created_at, k.expires_at, k.revoked_at, k.last_used_at, k.user_id,
                 u.disabled_at AS owner_disabled_at",
            $columns,
            " FROM api_keys k LEFT JOIN users u ON u.id = k.user_id
             WHERE k.id = $1 AND (CAST($2 AS TEXT) IS NULL OR k.org_id = $2)"
        )
    };
}

/// Finds a key within the scope.
pub(crate) async fn find_key(
    tx: &mut Tx,
    scope: OrgScope,
    id: KeyId,
) -> Result<Option<FoundKey>, StoreError> {
    tx.fetch_optional(key_found!(""), params![id, scope.id()])
        .await?
        .map(|row| read_found(&row, None))
        .transpose()
}

/// Finds a key within the scope ahead of its change, which then compares whether the key is still as it was seen.
pub(crate) async fn find_key_ahead(
    db: &Db,
    scope: OrgScope,
    id: KeyId,
) -> Result<Option<FoundKey>, StoreError> {
    const SQL: &str = key_found!(", CAST(k.xmin AS TEXT) AS row_version");
    db.glance(SQL, params![id, scope.id()])
        .await?
        .map(|row| read_found(&row, Some(RowVersion::read(&row)?)))
        .transpose()
}

fn read_found(row: &Row, seen: Option<RowVersion>) -> Result<FoundKey, StoreError> {
    Ok(FoundKey {
        key: read_key(row)?,
        owner: row.get("user_id")?,
        seen,
    })
}

/// Writes what can be changed of a key, if it is still as it was seen.
pub(crate) fn update_key(key: &ApiKey, seen: Option<RowVersion>) -> RowChange {
    static SQL: LazyLock<ChangeSql> = LazyLock::new(|| {
        ChangeSql::updating(
            "UPDATE api_keys SET name = $2, models = $3, scopes = $4, priority = $5, requests_per_minute = $6,
             tokens_per_minute = $7, tokens_per_month = $8, share_identical = $9, expires_at = $10
         WHERE id = $1",
        )
    });
    RowChange {
        sql: &SQL,
        params: params![
            key.id,
            &key.name,
            key.models.as_ref().map(|models| serde_json::json!(models)),
            serde_json::json!(key.scope.names()),
            key.priority.map(PriorityClass::as_str),
            key.limits.requests_per_minute,
            key.limits.tokens_per_minute,
            key.limits.tokens_per_month,
            key.share_identical,
            key.expires_at,
        ],
        seen,
    }
}

/// Revokes a key, whatever else it is by now.
pub(crate) fn revoke_key(id: KeyId, now: Timestamp) -> RowChange {
    static SQL: LazyLock<ChangeSql> =
        LazyLock::new(|| ChangeSql::updating("UPDATE api_keys SET revoked_at = $2 WHERE id = $1"));
    RowChange {
        sql: &SQL,
        params: params![id, now],
        seen: None,
    }
}

fn read_key(row: &Row) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: row.get("id")?,
        org_id: row.get("org_id")?,
        name: row.get("name")?,
        prefix: row.get("prefix")?,
        scope: read_scopes(row)?,
        models: row
            .get::<Option<Json<Vec<String>>>>("models")?
            .map(|Json(models)| models),
        priority: read_priority(row)?,
        limits: read_limits(row)?,
        share_identical: row.get("share_identical")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.get("revoked_at")?,
        last_used_at: row.get("last_used_at")?,
        owner_disabled: row.get::<Option<Timestamp>>("owner_disabled_at")?.is_some(),
    })
}
