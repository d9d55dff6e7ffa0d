//! The SQL of request statistics: hours are counted from the records, days from hours, weeks from days when they are asked for.

use primitives::{RequestId, Timestamp};
use store::{Db, Params, Row, StoreError, Tx, params};

use crate::span::Span;

/// Makes the counts and the statements over them, so that the columns stand once, in the table's order.
macro_rules! counted {
    ($($column:ident),* $(,)?) => {
        /// What is counted of a group of requests. Times are sums of microseconds.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Counted {
            $(pub(crate) $column: u64,)*
            /// The longest time to a first token.
            pub(crate) first_most_us: u64,
            /// The longest time to an end.
            pub(crate) total_most_us: u64,
        }

        impl Counted {
            fn read(row: &Row) -> Result<Self, StoreError> {
                Ok(Self {
                    $($column: row.get(stringify!($column))?,)*
                    first_most_us: row.get("first_most_us")?,
                    total_most_us: row.get("total_most_us")?,
                })
            }
        }

        /// Of an hour (`$1`), from its records: those from the id `$2` on, before `$3`. Names of models that nobody has are whatever callers
        /// write, without end, and share one line.
        const HOUR: &str = concat!(
            "INSERT INTO request_statistics (span, starts_at, model, node, operation", $(", ", stringify!($column),)* ", first_most_us, total_most_us)
            SELECT 'hour', CAST($1 AS BIGINT),
            CASE WHEN node_name IS NULL AND status = 404 THEN '(unknown)' ELSE COALESCE(model, '') END, COALESCE(node_name, ''), operation, CAST(count(*) AS BIGINT),
            CAST(SUM(CASE WHEN outcome = 'ok' THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN outcome = 'client_error' THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN outcome = 'rejected' THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN outcome = 'failed' THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN outcome = 'cancelled' THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN outcome = 'truncated' THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(retries) AS BIGINT), CAST(SUM(continued) AS BIGINT),
            CAST(SUM(COALESCE(prompt_tokens, 0)) AS BIGINT), CAST(SUM(COALESCE(completion_tokens, 0)) AS BIGINT),
            CAST(SUM(queue_us) AS BIGINT), CAST(count(first_token_us) AS BIGINT), CAST(SUM(COALESCE(first_token_us, 0)) AS BIGINT),
            CAST(SUM(total_us) AS BIGINT),
            CAST(SUM(CASE WHEN first_token_us <= 100000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN first_token_us <= 300000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN first_token_us <= 1000000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN first_token_us <= 3000000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN first_token_us <= 10000000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN first_token_us <= 30000000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN total_us <= 300000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN total_us <= 1000000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN total_us <= 3000000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN total_us <= 10000000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN total_us <= 30000000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(SUM(CASE WHEN total_us <= 100000000 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(COALESCE(MAX(first_token_us), 0) AS BIGINT), CAST(MAX(total_us) AS BIGINT)
            FROM requests WHERE id >= $2 AND id < $3 GROUP BY 3, 4, 5"
        );

        /// Of a day (`$1`), from its hours: those before `$2`.
        const DAY: &str = concat!(
            "INSERT INTO request_statistics (span, starts_at, model, node, operation", $(", ", stringify!($column),)* ", first_most_us, total_most_us)
            SELECT 'day', CAST($1 AS BIGINT), model, node, operation",
            $(", CAST(SUM(", stringify!($column), ") AS BIGINT)",)*
            ", CAST(MAX(first_most_us) AS BIGINT), CAST(MAX(total_most_us) AS BIGINT) FROM request_statistics WHERE span = 'hour' AND starts_at >= $1 AND starts_at < $2 GROUP BY model, node, operation"
        );

        /// Of times of a length (`$2`, beginning at `$1` beside its multiples), by model, node or operation where `$3` to `$5` are 1; from
        /// the counts of a span (`$6`) from `$7` on, before `$8`, of one model, node or operation (`$9` to `$11`); `$12` rows at most.
        const READ: &str = concat!(
            "SELECT (starts_at - CAST($1 AS BIGINT)) / CAST($2 AS BIGINT) * CAST($2 AS BIGINT) + CAST($1 AS BIGINT) AS at,
                CASE WHEN CAST($3 AS BIGINT) = 1 THEN model ELSE '' END AS of_model,
                CASE WHEN CAST($4 AS BIGINT) = 1 THEN node ELSE '' END AS of_node,
                CASE WHEN CAST($5 AS BIGINT) = 1 THEN operation ELSE '' END AS of_operation",
            $(", CAST(SUM(", stringify!($column), ") AS BIGINT) AS ", stringify!($column),)*
            ", CAST(MAX(first_most_us) AS BIGINT) AS first_most_us, CAST(MAX(total_most_us) AS BIGINT) AS total_most_us FROM request_statistics WHERE span = $6 AND starts_at >= $7 AND starts_at < $8
                AND (CAST($9 AS TEXT) IS NULL OR model = $9) AND (CAST($10 AS TEXT) IS NULL OR node = $10)
                AND (CAST($11 AS TEXT) IS NULL OR operation = $11)
            GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 LIMIT $12"
        );
    };
}

counted!(
    requests,
    ok,
    client_errors,
    rejected,
    failed,
    cancelled,
    truncated,
    retries,
    continued,
    prompt_tokens,
    completion_tokens,
    queue_us,
    first_tokens,
    first_token_us,
    total_us,
    first_100ms,
    first_300ms,
    first_1s,
    first_3s,
    first_10s,
    first_30s,
    total_300ms,
    total_1s,
    total_3s,
    total_10s,
    total_30s,
    total_100s,
);

/// Returns the beginning of the last hour that was counted, and that of the first that has records.
pub(crate) async fn rolled_until(
    db: &Db,
) -> Result<(Option<Timestamp>, Option<Timestamp>), StoreError> {
    let mut tx = db.read().await?;
    let row = tx
        .fetch_optional(
            "SELECT (SELECT max(starts_at) FROM request_statistics WHERE span = 'hour') AS last,
                    (SELECT received_at FROM requests ORDER BY id LIMIT 1) AS first",
            (),
        )
        .await?;
    tx.commit().await?;
    match row {
        Some(row) => Ok((row.get("last")?, row.get("first")?)),
        None => Ok((None, None)),
    }
}

/// Returns how many records of an hour there are, and how many were counted.
pub(crate) async fn count_hour(tx: &mut Tx, hour: Timestamp) -> Result<(u64, u64), StoreError> {
    let (from, until) = ids(hour);
    let row = tx
        .fetch_optional(
            "SELECT CAST((SELECT count(*) FROM requests WHERE id >= $2 AND id < $3) AS BIGINT) AS present,
                    CAST(COALESCE((SELECT SUM(requests) FROM request_statistics WHERE span = 'hour' AND starts_at = $1), 0) AS BIGINT) AS counted",
            params![hour, from, until],
        )
        .await?;
    row.map_or(Ok((0, 0)), |row| {
        Ok((row.get("present")?, row.get("counted")?))
    })
}

fn ids(hour: Timestamp) -> (RequestId, RequestId) {
    let next = hour.after(Span::Hour.length());
    (RequestId::first_at(hour), RequestId::first_at(next))
}

/// Counts an hour anew.
pub(crate) async fn replace_hour(tx: &mut Tx, hour: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM request_statistics WHERE span = 'hour' AND starts_at = $1",
        params![hour],
    )
    .await?;
    let (from, until) = ids(hour);
    tx.execute(HOUR, params![hour, from, until]).await?;
    Ok(())
}

/// Counts a day anew, from its hours, unless some of them are gone: then what was counted stays.
pub(crate) async fn replace_day(tx: &mut Tx, day: Timestamp) -> Result<(), StoreError> {
    let end = day.after(Span::Day.length());
    let row = tx
        .fetch_optional(
            "SELECT CAST(COALESCE((SELECT SUM(requests) FROM request_statistics WHERE span = 'hour' AND starts_at >= $1 AND starts_at < $2), 0) AS BIGINT) AS present,
                    CAST(COALESCE((SELECT SUM(requests) FROM request_statistics WHERE span = 'day' AND starts_at = $1), 0) AS BIGINT) AS counted",
            params![day, end],
        )
        .await?;
    if let Some(row) = row
        && row.get::<u64>("present")? < row.get::<u64>("counted")?
    {
        return Ok(());
    }
    tx.execute(
        "DELETE FROM request_statistics WHERE span = 'day' AND starts_at = $1",
        params![day],
    )
    .await?;
    tx.execute(DAY, params![day, end]).await?;
    Ok(())
}

/// What is told apart, and what is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) span: Span,
    pub(crate) by_model: bool,
    pub(crate) by_node: bool,
    pub(crate) by_operation: bool,
    pub(crate) since: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) model: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) operation: Option<String>,
}

/// One line of the answer: when it begins, of what it is, and what was counted.
pub(crate) type Line = (Timestamp, [String; 3], Counted);

/// Reads counts, the oldest first, at most `limit` lines.
pub(crate) async fn read_statistics(
    db: &Db,
    group: &Group,
    limit: u32,
) -> Result<Vec<Line>, StoreError> {
    // Weeks are made of days.
    let stored = match group.span {
        Span::Week => Span::Day,
        span => span,
    };
    let flag = i64::from;
    let values: Params = params![
        group.span.offset(),
        group.span.micros(),
        flag(group.by_model),
        flag(group.by_node),
        flag(group.by_operation),
        stored.as_str(),
        group.since,
        group.until,
        group.model.clone(),
        group.node.clone(),
        group.operation.clone(),
        limit
    ];
    let mut tx = db.read().await?;
    let rows = tx.fetch_all(READ, values).await?;
    tx.commit().await?;
    let read = |row: &Row| {
        let of = [
            row.get("of_model")?,
            row.get("of_node")?,
            row.get("of_operation")?,
        ];
        Ok((row.get("at")?, of, Counted::read(row)?))
    };
    rows.iter().map(read).collect()
}

/// Deletes counts of a span that began before a time.
pub(crate) async fn prune_statistics(
    tx: &mut Tx,
    span: Span,
    before: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM request_statistics WHERE span = $1 AND starts_at < $2",
        params![span.as_str(), before],
    )
    .await?;
    Ok(())
}
