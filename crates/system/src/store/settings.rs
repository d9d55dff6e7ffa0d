//! The SQL of settings.

use ::store::{Json, Row, StoreError, Tx, params};
use primitives::{PageRequest, Timestamp};
use serde_json::json;

use crate::settings::{SettingsChange, Stored};

/// The most changes that are remembered.
const REMEMBERED: i64 = 1_000;

/// Returns the version of the settings.
pub(crate) async fn settings_version(tx: &mut Tx) -> Result<i64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT version FROM setting_versions ORDER BY version DESC LIMIT 1",
            (),
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("version"))
}

/// Returns what is set, and its version.
pub(crate) async fn load_settings(tx: &mut Tx) -> Result<(i64, Stored), StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT version, state FROM setting_versions ORDER BY version DESC LIMIT 1",
            (),
        )
        .await?;
    match row {
        Some(row) => Ok((row.get("version")?, row.get::<Json<Stored>>("state")?.0)),
        None => Ok((0, Stored::new())),
    }
}

/// Returns what was set at a version.
pub(crate) async fn settings_at(tx: &mut Tx, version: i64) -> Result<Option<Stored>, StoreError> {
    tx.fetch_optional(
        "SELECT state FROM setting_versions WHERE version = $1",
        params![version],
    )
    .await?
    .map(|row| Ok(row.get::<Json<Stored>>("state")?.0))
    .transpose()
}

/// Stores a version, and forgets the ones too far back.
pub(crate) async fn put_settings(
    tx: &mut Tx,
    change: &SettingsChange,
    state: &Stored,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO setting_versions (version, changed_at, changed_by, differences, state) VALUES ($1, $2, $3, $4, $5)",
        params![
            change.version,
            change.at,
            change.by.as_str(),
            json!(change.differences),
            json!(state)
        ],
    )
    .await?;
    tx.execute(
        "DELETE FROM setting_versions WHERE version <= $1",
        params![change.version - REMEMBERED],
    )
    .await?;
    Ok(())
}

/// Lists changes before a version, the newest first, and counts them.
pub(crate) async fn list_settings_changes(
    tx: &mut Tx,
    before: i64,
    page: &PageRequest,
) -> Result<(Vec<SettingsChange>, u64), StoreError> {
    let found = tx
        .fetch_all(
            "SELECT version, changed_at, changed_by, differences FROM setting_versions
             WHERE version < $1 ORDER BY version DESC LIMIT $2 OFFSET $3",
            params![before, page.size() + 1, page.skipped()],
        )
        .await?
        .iter()
        .map(read)
        .collect::<Result<_, _>>()?;
    let total = tx
        .fetch_optional(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM setting_versions",
            (),
        )
        .await?;
    Ok((found, total.map_or(Ok(0), |row| row.get("total"))?))
}

/// Lists the versions that somebody of this name made.
pub(crate) async fn settings_changed_by(
    tx: &mut Tx,
    name: &str,
) -> Result<Vec<(i64, Timestamp)>, StoreError> {
    tx.fetch_all(
        "SELECT version, changed_at FROM setting_versions WHERE changed_by = $1 ORDER BY version",
        params![name],
    )
    .await?
    .iter()
    .map(|row| Ok((row.get("version")?, row.get("changed_at")?)))
    .collect()
}

/// Takes a name out of the history.
pub(crate) async fn erase_settings_name(tx: &mut Tx, name: &str) -> Result<u64, StoreError> {
    tx.execute(
        "UPDATE setting_versions SET changed_by = 'erased' WHERE changed_by = $1",
        params![name],
    )
    .await
}

fn read(row: &Row) -> Result<SettingsChange, StoreError> {
    Ok(SettingsChange {
        version: row.get("version")?,
        at: row.get("changed_at")?,
        by: row.get("changed_by")?,
        differences: row.get::<Json<_>>("differences")?.0,
    })
}
