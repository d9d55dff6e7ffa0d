//! The SQL of the generation: how many changes were counted, and which credentials each was about.

use std::collections::HashSet;
use std::fmt;

use ::store::{Db, Engine, Statement, StoreError, Tx, params};

use super::audit::{Mark, read_mark};

const GENERATION: &str = "identity.generation";
/// The most changes that a snapshot is renewed by one by one.
const MOST_RENEWED: i64 = 1_000;
/// How many changes stay noted at least.
const KEPT_CHANGES: i64 = 10_000;

/// Counts a change, so that other replicas notice it. Also orders the changes: the row stays locked until the commit, so a
/// transaction that begins with this reads what no other one changes, and all that do so take their locks in one order.
pub(crate) async fn advance_generation(tx: &mut Tx) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO settings (key, value) VALUES ($1, '1')
         ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(settings.value AS BIGINT) + 1 AS TEXT)",
        params![GENERATION],
    )
    .await?;
    Ok(())
}

/// What a change is noted with that is about no credential.
const NO_CREDENTIAL: &str = "";

const ADVANCE_FOR: &str = "WITH counted AS (
         INSERT INTO settings (key, value) VALUES ($1, '1')
         ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(settings.value AS BIGINT) + 1 AS TEXT)
         RETURNING value
     )
     INSERT INTO credential_changes (generation, id) SELECT CAST(value AS BIGINT), $2 FROM counted";

/// Counts a change like [`advance_generation`] that is about one key or session, so that snapshots are renewed by that one alone.
pub(crate) async fn advance_generation_for(
    tx: &mut Tx,
    credential: impl fmt::Display,
) -> Result<(), StoreError> {
    match tx.engine() {
        Engine::Postgres => {
            let params = params![GENERATION, credential.to_string()];
            tx.execute(ADVANCE_FOR, params).await?;
            Ok(())
        }
        Engine::Sqlite => {
            advance_generation(tx).await?;
            note_changed(tx, credential).await
        }
    }
}

/// Counts a change like [`advance_generation`] that is about no key and no session.
pub(crate) async fn advance_generation_only(tx: &mut Tx) -> Result<(), StoreError> {
    advance_generation_for(tx, NO_CREDENTIAL).await
}

/// Where a change stands among all of them: its number, and the last record of the journal before it.
pub(crate) struct Place {
    pub(crate) generation: i64,
    pub(crate) head: Option<Mark>,
}

/// Counts a change and reads its place.
const TAKE_PLACE: Statement = Statement::per_engine(
    "INSERT INTO settings (key, value) VALUES ('identity.generation', '1')
     ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(settings.value AS BIGINT) + 1 AS TEXT)
     RETURNING CAST(value AS BIGINT) AS generation, (SELECT value FROM settings WHERE key = 'audit.head') AS head",
    "SELECT generation, head FROM take_place()",
);

/// Begins a transaction that orders changes like [`advance_generation`]: for a change that is about one key or session, which its
/// record notes.
pub(crate) async fn begin_change(db: &Db) -> Result<(Tx, Place), StoreError> {
    let (tx, rows) = db.write_ordered_from(TAKE_PLACE).await?;
    let place = rows.last().ok_or_else(|| StoreError::Corrupt {
        column: "value".to_owned(),
        reason: "a change was not counted".to_owned(),
    })?;
    let head = place.get::<Option<String>>("head")?;
    let place = Place {
        generation: place.get("generation")?,
        // There is none before there is any record.
        head: head.as_deref().map(read_mark).transpose()?,
    };
    Ok((tx, place))
}

/// Notes which key or session the change of this number is about.
pub(super) async fn note_change_numbered(
    tx: &mut Tx,
    generation: i64,
    id: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO credential_changes (generation, id) VALUES ($1, $2)",
        params![generation, id],
    )
    .await?;
    Ok(())
}

/// Notes which key or session the change is about that this transaction counted. All that it is about must be noted, or nothing.
pub(crate) async fn note_changed(
    tx: &mut Tx,
    credential: impl fmt::Display,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO credential_changes (generation, id) SELECT CAST(value AS BIGINT), $2 FROM settings WHERE key = $1",
        params![GENERATION, credential.to_string()],
    )
    .await?;
    Ok(())
}

/// Returns the ids of the keys and sessions that changed after `from` up to `to`, `None` when that is not known or they are many.
pub(crate) async fn changed_credentials(
    tx: &mut Tx,
    from: i64,
    to: i64,
) -> Result<Option<HashSet<String>>, StoreError> {
    let counted = to - from;
    if from < 0 || !(0..=MOST_RENEWED).contains(&counted) {
        return Ok(None);
    }
    let rows = tx
        .fetch_all(
            "SELECT generation, id FROM credential_changes WHERE generation > $1 AND generation <= $2 ORDER BY generation",
            params![from, to],
        )
        .await?;
    let mut ids = HashSet::with_capacity(rows.len());
    let (mut noted, mut last) = (0, from);
    for row in &rows {
        let generation: i64 = row.get("generation")?;
        if generation != last {
            noted += 1;
            last = generation;
        }
        let id: String = row.get("id")?;
        if id != NO_CREDENTIAL {
            ids.insert(id);
        }
    }
    Ok((noted == counted).then_some(ids))
}

/// Removes the notes of changes that snapshots are long past.
pub(crate) async fn trim_changes(tx: &mut Tx, generation: i64) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM credential_changes WHERE generation <= $1",
        params![generation - KEPT_CHANGES],
    )
    .await?;
    Ok(())
}

/// Tells whether there are enough of them to be worth a write.
pub(crate) async fn can_trim_changes(tx: &mut Tx, generation: i64) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT min(generation) AS first_one FROM credential_changes",
            (),
        )
        .await?;
    let first = row.map_or(Ok(None), |row| row.get::<Option<i64>>("first_one"))?;
    Ok(first.is_some_and(|first| generation - first >= 2 * KEPT_CHANGES))
}

/// Returns how many changes were counted.
pub(crate) async fn load_generation(tx: &mut Tx) -> Result<i64, StoreError> {
    match tx
        .fetch_optional(
            "SELECT CAST(value AS BIGINT) AS generation FROM settings WHERE key = $1",
            params![GENERATION],
        )
        .await?
    {
        Some(row) => row.get("generation"),
        None => Ok(0),
    }
}

/// Returns how many changes were counted, in one round trip.
pub(crate) async fn glance_at_generation(db: &Db) -> Result<i64, StoreError> {
    const SQL: &str = "SELECT CAST(value AS BIGINT) AS generation FROM settings WHERE key = 'identity.generation'";
    db.glance(SQL, ())
        .await?
        .map_or(Ok(0), |row| row.get("generation"))
}
