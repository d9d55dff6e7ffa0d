//! What the databases tell of themselves, and the SQL that cares for them.

use ::store::{Engine, Row, Statement, StoreError, Tx, params};
use primitives::Timestamp;

use crate::database::{Cleaned, Health, SlowQuery, Statistics, TableSize};

const HEALTH: Statement = Statement::per_engine(
    "SELECT sqlite_version() AS server_version,
         (SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size()) AS size_bytes,
         1 AS connections, 1 AS active, 0 AS blocked, 0 AS oldest_transaction_s,
         NULL AS cache_hit_ratio, NULL AS index_use_ratio",
    "SELECT CAST(current_setting('server_version') AS TEXT) AS server_version,
         CAST(pg_database_size(current_database()) AS BIGINT) AS size_bytes,
         CAST(count(*) AS BIGINT) AS connections,
         CAST(count(*) FILTER (WHERE state = 'active') AS BIGINT) AS active,
         CAST(count(*) FILTER (WHERE wait_event_type = 'Lock') AS BIGINT) AS blocked,
         CAST(COALESCE(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) AS BIGINT) AS oldest_transaction_s,
         (SELECT CAST(blks_hit AS DOUBLE PRECISION) / NULLIF(blks_hit + blks_read, 0)
          FROM pg_stat_database WHERE datname = current_database()) AS cache_hit_ratio,
         (SELECT CAST(sum(idx_scan) AS DOUBLE PRECISION) / NULLIF(CAST(sum(idx_scan) + sum(seq_scan) AS DOUBLE PRECISION), 0)
          FROM pg_stat_user_tables) AS index_use_ratio
     FROM pg_stat_activity WHERE datname = current_database()",
);

/// Looks how the database is.
pub(crate) async fn health(tx: &mut Tx) -> Result<Health, StoreError> {
    let Some(row) = tx.fetch_optional(HEALTH, ()).await? else {
        return Ok(Health::default());
    };
    Ok(Health {
        server_version: row.get("server_version")?,
        size_bytes: row.get("size_bytes")?,
        connections: row.get("connections")?,
        active: row.get("active")?,
        blocked: row.get("blocked")?,
        oldest_transaction_s: row.get("oldest_transaction_s")?,
        cache_hit_ratio: row.get("cache_hit_ratio")?,
        index_use_ratio: row.get("index_use_ratio")?,
    })
}

/// Tells whether the database keeps count of its statements.
pub(crate) async fn counts_statements(tx: &mut Tx) -> Result<bool, StoreError> {
    if tx.engine() == Engine::Sqlite {
        return Ok(false);
    }
    // Without the library loaded at the server's start the view answers with an error.
    let row = tx
        .fetch_optional(
            "SELECT CAST(1 AS BIGINT) AS one WHERE to_regclass('pg_stat_statements') IS NOT NULL
                 AND current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'",
            (),
        )
        .await?;
    Ok(row.is_some())
}

/// Lists the twenty kinds of statement that take longest on average, of those that ran more than five times.
pub(crate) async fn slow_queries(tx: &mut Tx) -> Result<Vec<SlowQuery>, StoreError> {
    tx.fetch_all(
        "SELECT CAST(left(query, 500) AS TEXT) AS query, calls, mean_exec_time, max_exec_time, total_exec_time, rows
         FROM pg_stat_statements WHERE calls > 5 AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
         ORDER BY mean_exec_time DESC LIMIT 20",
        (),
    )
    .await?
    .iter()
    .map(|row| {
        Ok(SlowQuery {
            query: row.get("query")?,
            calls: row.get("calls")?,
            mean_ms: row.get("mean_exec_time")?,
            max_ms: row.get("max_exec_time")?,
            total_ms: row.get("total_exec_time")?,
            rows: row.get("rows")?,
        })
    })
    .collect()
}

/// PostgreSQL tells estimates and sizes at once. SQLite keeps neither: rows are the highest row number, sizes are not known.
const TABLES: Statement = Statement::per_engine(
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name",
    "SELECT CAST(c.relname AS TEXT) AS name, CAST(GREATEST(c.reltuples, s.n_live_tup, 0) AS BIGINT) AS rows_known,
         CAST(pg_table_size(c.oid) AS BIGINT) AS size_bytes, CAST(pg_indexes_size(c.oid) AS BIGINT) AS index_bytes,
         CAST(s.n_dead_tup AS BIGINT) AS dead_rows, CAST(s.seq_scan AS BIGINT) AS sequential_scans,
         CAST(COALESCE(s.idx_scan, 0) AS BIGINT) AS index_scans
     FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
     WHERE c.relnamespace = to_regnamespace(current_schema()) ORDER BY pg_total_relation_size(c.oid) DESC, c.relname",
);

/// Words a count for each table.
macro_rules! sqlite_rows {
    ($($table:literal)*) => {
        [$(($table, concat!("SELECT COALESCE(max(rowid), 0) AS rows_known FROM ", $table))),*]
    };
}

const SQLITE_ROWS: [(&str, &str); 13] = sqlite_rows!(
    "api_keys" "audit_log" "idempotency_keys" "invitations" "nodes" "organisations" "password_resets" "recovery_codes" "requests"
    "sessions" "setting_versions" "settings" "users"
);

/// Lists the tables.
pub(crate) async fn tables(tx: &mut Tx) -> Result<Vec<TableSize>, StoreError> {
    let listed = tx.fetch_all(TABLES, ()).await?;
    if tx.engine() == Engine::Postgres {
        return listed.iter().map(read_table).collect();
    }
    let mut tables = Vec::new();
    for row in listed {
        let name: String = row.get("name")?;
        let Some((_, sql)) = SQLITE_ROWS.iter().find(|(table, _)| *table == name) else {
            continue;
        };
        let rows = tx.fetch_optional(*sql, ()).await?;
        tables.push(TableSize {
            rows: rows.map_or(Ok(0), |row| row.get("rows_known"))?,
            name,
            size_bytes: 0,
            index_bytes: 0,
            dead_rows: None,
            sequential_scans: None,
            index_scans: None,
        });
    }
    Ok(tables)
}

fn read_table(row: &Row) -> Result<TableSize, StoreError> {
    Ok(TableSize {
        name: row.get("name")?,
        rows: row.get("rows_known")?,
        size_bytes: row.get("size_bytes")?,
        index_bytes: row.get("index_bytes")?,
        dead_rows: row.get("dead_rows")?,
        sequential_scans: row.get("sequential_scans")?,
        index_scans: row.get("index_scans")?,
    })
}

/// Counts what is in the database.
pub(crate) async fn statistics(
    tx: &mut Tx,
    now: Timestamp,
    since: Timestamp,
) -> Result<Statistics, StoreError> {
    let counts = tx
        .fetch_optional(
            "SELECT (SELECT CAST(count(*) AS BIGINT) FROM organisations) AS organisations,
                 (SELECT CAST(count(*) AS BIGINT) FROM users) AS users,
                 (SELECT CAST(count(*) AS BIGINT) FROM users WHERE disabled_at IS NOT NULL) AS users_disabled,
                 (SELECT CAST(count(*) AS BIGINT) FROM sessions WHERE expires_at > $1) AS sessions,
                 (SELECT CAST(count(*) AS BIGINT) FROM api_keys
                  WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)) AS keys,
                 (SELECT CAST(count(*) AS BIGINT) FROM nodes) AS nodes,
                 (SELECT CAST(count(*) AS BIGINT) FROM audit_log WHERE at >= $2) AS changes",
            params![now, since],
        )
        .await?;
    let requests = tx
        .fetch_all(
            "SELECT outcome, CAST(count(*) AS BIGINT) AS found, CAST(COALESCE(sum(prompt_tokens), 0) AS BIGINT) AS prompt_tokens,
                 CAST(COALESCE(sum(completion_tokens), 0) AS BIGINT) AS completion_tokens
             FROM requests WHERE received_at >= $1 GROUP BY outcome ORDER BY outcome",
            params![since],
        )
        .await?;
    let count = |name: &str| counts.as_ref().map_or(Ok(0), |row| row.get(name));
    let mut by_outcome = Vec::new();
    let (mut prompt_tokens, mut completion_tokens) = (0, 0);
    for row in &requests {
        by_outcome.push((row.get("outcome")?, row.get("found")?));
        prompt_tokens += row.get::<u64>("prompt_tokens")?;
        completion_tokens += row.get::<u64>("completion_tokens")?;
    }
    Ok(Statistics {
        counted_at: now,
        organisations: count("organisations")?,
        users: count("users")?,
        users_disabled: count("users_disabled")?,
        sessions: count("sessions")?,
        keys: count("keys")?,
        nodes: count("nodes")?,
        requests: by_outcome,
        prompt_tokens,
        completion_tokens,
        changes: count("changes")?,
    })
}

/// Removes what has expired.
pub(crate) async fn clean(tx: &mut Tx, now: Timestamp) -> Result<Cleaned, StoreError> {
    let day_ago = now.before(std::time::Duration::from_hours(24));
    Ok(Cleaned {
        sessions: tx
            .execute("DELETE FROM sessions WHERE expires_at <= $1", params![now])
            .await?,
        password_resets: tx
            .execute(
                "DELETE FROM password_resets WHERE expires_at <= $1",
                params![now],
            )
            .await?,
        invitations: tx
            .execute(
                "DELETE FROM invitations WHERE expires_at <= $1",
                params![now],
            )
            .await?,
        idempotency_keys: tx
            .execute(
                "DELETE FROM idempotency_keys WHERE begun_at < $1",
                params![day_ago],
            )
            .await?,
    })
}

/// Has the database renew what it plans by.
pub(crate) async fn analyse(tx: &mut Tx) -> Result<(), StoreError> {
    tx.execute("ANALYZE", ()).await?;
    Ok(())
}
