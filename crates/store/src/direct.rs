//! Whether PostgreSQL itself is at an address, or a pooler before it.

use sqlx::postgres::{PgConnectOptions, Postgres};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::StoreError;
use crate::db::ACQUIRE_TIMEOUT;
use crate::pool::Pool;
use crate::row::{Driver, Row};
use crate::tx::{Preparing, STATEMENT_TIMEOUT, within};

/// The most statements that a connection keeps prepared. Beyond it the one that ran longest ago is given up.
const KEPT_STATEMENTS: usize = 250;

/// Where the server at the other end says that it is: nothing where that is no network address.
const PLACE: &str =
    "SELECT host(inet_server_addr()) AS address, CAST(inet_server_port() AS BIGINT) AS port";

/// Asks the server where it is. Statements are kept prepared where that is the address that was dialled: a pooler's connections come from
/// elsewhere, and so do those that are forwarded, where nothing is lost but time.
pub(crate) async fn preparing(
    options: &PgConnectOptions,
    pool: &Pool<Postgres>,
) -> Result<Preparing, StoreError> {
    if options.get_socket().is_some() {
        return Ok(Preparing::Once);
    }
    let mut connection = pool.acquire().await?;
    let row = within(
        ACQUIRE_TIMEOUT,
        sqlx::raw_sql(PLACE).fetch_one(&mut *connection),
    )
    .await?;
    connection.put_back();
    let row = Row(Driver::Postgres(row));
    let (Some(address), Some(port)) = (
        row.get::<Option<String>>("address")?,
        row.get::<Option<u32>>("port")?,
    ) else {
        return Ok(Preparing::Once);
    };
    let dialled = options.get_port();
    if port != u32::from(dialled) {
        return Ok(Preparing::Once);
    }
    let dialled = timeout(ACQUIRE_TIMEOUT, lookup_host((options.get_host(), dialled))).await;
    let is_dialled = match dialled {
        Ok(Ok(mut dialled)) => dialled.any(|dialled| dialled.ip().to_string() == address),
        Ok(Err(_)) | Err(_) => false,
    };
    Ok(if is_dialled {
        Preparing::Kept
    } else {
        Preparing::Once
    })
}

/// Sets connections up to keep statements. What runs outside a transaction is bounded, too.
pub(crate) fn keeping(options: PgConnectOptions) -> PgConnectOptions {
    let limit_ms = STATEMENT_TIMEOUT.as_millis().to_string();
    options
        .statement_cache_capacity(KEPT_STATEMENTS)
        .options([("statement_timeout", &*limit_ms)])
}
