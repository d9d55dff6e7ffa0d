//! The routes below `/api/v1/system/database`.

use axum::extract::State;
use identity::Admin;
use serde::Serialize;
use utoipa::ToSchema;
use web::{JsonBody, Problem};

use crate::database::{Cleaned, Health, SlowQuery, TableSize};
use crate::surface::System;

/// How the database is.
#[derive(Serialize, ToSchema)]
pub(crate) struct DatabaseBody {
    /// `sqlite` or `postgres`.
    #[schema(example = "postgres")]
    engine: &'static str,
    /// The version of the database.
    server_version: String,
    /// Its size in bytes.
    size_bytes: u64,
    /// Open connections, of every program.
    connections: u64,
    /// Those that work on a statement.
    active: u64,
    /// Those that wait for a lock.
    blocked: u64,
    /// For how many seconds the longest transaction has been open.
    oldest_transaction_s: u64,
    /// The share of blocks that were in memory when they were wanted; where the database keeps count.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_hit_ratio: Option<f64>,
    /// The share of scans that went by an index; where the database keeps count.
    #[serde(skip_serializing_if = "Option::is_none")]
    index_use_ratio: Option<f64>,
}

impl DatabaseBody {
    fn new(engine: &'static str, health: Health) -> Self {
        Self {
            engine,
            server_version: health.server_version,
            size_bytes: health.size_bytes,
            connections: health.connections,
            active: health.active,
            blocked: health.blocked,
            oldest_transaction_s: health.oldest_transaction_s,
            cache_hit_ratio: health.cache_hit_ratio,
            index_use_ratio: health.index_use_ratio,
        }
    }
}

/// What takes long.
#[derive(Serialize, ToSchema)]
pub(crate) struct SlowQueriesBody {
    /// Whether the database keeps count of its statements: PostgreSQL with `pg_stat_statements`.
    available: bool,
    /// The twenty kinds of statement that take longest on average, of those that ran more than five times.
    items: Vec<SlowQueryBody>,
}

/// A kind of statement.
#[derive(Serialize, ToSchema)]
pub(crate) struct SlowQueryBody {
    /// Its text without values; at most 500 characters.
    query: String,
    /// How often it ran.
    calls: u64,
    /// How long it takes on average, in milliseconds.
    mean_ms: f64,
    /// How long it took at most, in milliseconds.
    max_ms: f64,
    /// How long it took in all, in milliseconds.
    total_ms: f64,
    /// The rows that it gave in all.
    rows: u64,
}

impl From<SlowQuery> for SlowQueryBody {
    fn from(slow: SlowQuery) -> Self {
        Self {
            query: slow.query,
            calls: slow.calls,
            mean_ms: slow.mean_ms,
            max_ms: slow.max_ms,
            total_ms: slow.total_ms,
            rows: slow.rows,
        }
    }
}

/// The tables.
#[derive(Serialize, ToSchema)]
pub(crate) struct TablesBody {
    /// The largest first, where sizes are known.
    items: Vec<TableBody>,
}

/// A table.
#[derive(Serialize, ToSchema)]
pub(crate) struct TableBody {
    /// Its name.
    #[schema(example = "requests")]
    name: String,
    /// About how many rows it has. On SQLite, how many it has had at most.
    rows: u64,
    /// Its size in bytes without indexes; 0 where that is not known.
    size_bytes: u64,
    /// The size of its indexes in bytes; 0 where that is not known.
    index_bytes: u64,
    /// Rows that are deleted and still take room; where the database keeps count.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_rows: Option<u64>,
    /// How often it was read from end to end; where the database keeps count.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequential_scans: Option<u64>,
    /// How often it was read by an index; where the database keeps count.
    #[serde(skip_serializing_if = "Option::is_none")]
    index_scans: Option<u64>,
}

impl From<TableSize> for TableBody {
    fn from(table: TableSize) -> Self {
        Self {
            name: table.name,
            rows: table.rows,
            size_bytes: table.size_bytes,
            index_bytes: table.index_bytes,
            dead_rows: table.dead_rows,
            sequential_scans: table.sequential_scans,
            index_scans: table.index_scans,
        }
    }
}

/// What was removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct CleanedBody {
    /// Sessions that had ended.
    sessions: u64,
    /// Tokens to reset a password that had ended.
    password_resets: u64,
    /// Invitations that had ended.
    invitations: u64,
    /// Requests that were remembered for longer than a day.
    idempotency_keys: u64,
}

impl From<Cleaned> for CleanedBody {
    fn from(cleaned: Cleaned) -> Self {
        Self {
            sessions: cleaned.sessions,
            password_resets: cleaned.password_resets,
            invitations: cleaned.invitations,
            idempotency_keys: cleaned.idempotency_keys,
        }
    }
}

/// Shows how the database is
#[utoipa::path(get, path = "/api/v1/system/database", operation_id = "show_database", tag = "system", security(("bearer" = [])),
    responses(
        (status = 200, description = "How it is.", body = DatabaseBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn show_database(
    _: Admin,
    State(system): State<System>,
) -> Result<JsonBody<DatabaseBody>, Problem> {
    let health = system.database_health().await?;
    Ok(JsonBody(DatabaseBody::new(
        system.engine().as_str(),
        health,
    )))
}

/// Lists the statements that take longest
#[utoipa::path(get, path = "/api/v1/system/database/slow-queries", operation_id = "list_slow_queries", tag = "system",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The slowest first.", body = SlowQueriesBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn list_slow_queries(
    _: Admin,
    State(system): State<System>,
) -> Result<JsonBody<SlowQueriesBody>, Problem> {
    let found = system.slow_queries().await?;
    Ok(JsonBody(SlowQueriesBody {
        available: found.is_some(),
        items: found.into_iter().flatten().map(Into::into).collect(),
    }))
}

/// Lists the tables with their sizes
#[utoipa::path(get, path = "/api/v1/system/database/tables", operation_id = "list_tables", tag = "system",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The tables.", body = TablesBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn list_tables(
    _: Admin,
    State(system): State<System>,
) -> Result<JsonBody<TablesBody>, Problem> {
    let items = system.tables().await?.into_iter().map(Into::into);
    Ok(JsonBody(TablesBody {
        items: items.collect(),
    }))
}

/// Removes what has expired
///
/// Also has the database renew what it plans by.
#[utoipa::path(post, path = "/api/v1/system/database/clean", operation_id = "clean_database", tag = "system",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What was removed.", body = CleanedBody),
        (status = 403, description = "Not an administrator of the platform.", body = Problem),
    ))]
pub(super) async fn clean_database(
    admin: Admin,
    State(system): State<System>,
) -> Result<JsonBody<CleanedBody>, Problem> {
    Ok(JsonBody(system.clean(&admin.actor()).await?.into()))
}
