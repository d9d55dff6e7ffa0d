//! Reading widgets.

use std::sync::Arc;

use ::store::{JsonText, Row, Statement, StoreError, Tx, params};

use super::widget;
use crate::list::WidgetFilter;
use crate::model::Widget;

/// A widget with its name.
#[derive(Clone, Debug)]
pub(crate) struct NamedWidget {
    pub(crate) widget: Widget,
    pub(crate) name: String,
}

fn named(row: &Row) -> Result<NamedWidget, StoreError> {
    Ok(NamedWidget {
        widget: widget(row)?,
        name: row.get("name")?,
    })
}

/// Finds a widget by its serial number.
pub(crate) async fn find_widget(
    tx: &mut Tx,
    serial: &str,
) -> Result<Option<NamedWidget>, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT id, serial_number, name, ports, slot1, slot2, slot3 FROM widgets WHERE serial_number = $1",
            params![serial],
        )
        .await?;
    row.as_ref().map(named).transpose()
}

const BY_IDS: Statement = Statement::per_engine(
    "SELECT id, serial_number, name, ports, slot1, slot2, slot3 FROM widgets WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id",
    "SELECT id, serial_number, name, ports, slot1, slot2, slot3 FROM widgets
     WHERE id = ANY (ARRAY (SELECT CAST(j.v AS BIGINT) FROM jsonb_array_elements_text($1) AS j (v))) ORDER BY id",
);

/// Reads the widgets of these numbers that there are.
pub(crate) async fn widgets_by_ids(
    tx: &mut Tx,
    ids: &[i64],
) -> Result<Vec<NamedWidget>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = JsonText::of(ids).map_err(|error| StoreError::Backend(error.into()))?;
    let rows = tx.fetch_all(BY_IDS, params![ids]).await?;
    rows.iter().map(named).collect()
}

/// Lists those that fit among the next `looked_at` serial numbers from `from` on, below `end`.
pub(crate) async fn list_widgets(
    tx: &mut Tx,
    filter: &WidgetFilter,
    (from, end): (&str, &str),
    (looked_at, most): (u32, u32),
) -> Result<Vec<NamedWidget>, StoreError> {
    let letter = |port: Option<crate::Port>| port.map_or("", crate::Port::as_str);
    let associated = match filter.associated {
        None => "",
        Some(true) => "yes",
        Some(false) => "no",
    };
    let rows = tx
        .fetch_all(
            "SELECT id, serial_number, name, ports, slot1, slot2, slot3 FROM (
                 SELECT id, serial_number, name, ports, slot1, slot2, slot3 FROM widgets
                 WHERE serial_number >= $1 AND serial_number < $2 ORDER BY serial_number LIMIT $3) AS w
             WHERE ($4 = '' OR name = $4) AND ($5 = '' OR ports LIKE '%' || $5 || '%')
                 AND ($6 = '' OR (slot1 IS NULL AND substr(ports, 1, 1) = $6) OR (slot2 IS NULL AND substr(ports, 2, 1) = $6)
                     OR (slot3 IS NULL AND substr(ports, 3, 1) = $6))
                 AND ($7 = '' OR ($7 = 'yes') = (slot1 IS NOT NULL OR slot2 IS NOT NULL OR slot3 IS NOT NULL))
             ORDER BY serial_number LIMIT $8",
            params![
                from,
                end,
                looked_at,
                filter.name.as_deref().unwrap_or_default(),
                letter(filter.port),
                letter(filter.free),
                associated,
                most,
            ],
        )
        .await?;
    rows.iter().map(named).collect()
}

/// Returns the last serial number that [`list_widgets`] has looked at, if there may be more behind it.
pub(crate) async fn last_looked_at(
    tx: &mut Tx,
    (from, end): (&str, &str),
    looked_at: u32,
) -> Result<Option<String>, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT serial_number FROM widgets WHERE serial_number >= $1 AND serial_number < $2
             ORDER BY serial_number LIMIT 1 OFFSET $3",
            params![from, end, looked_at.saturating_sub(1)],
        )
        .await?;
    row.map(|row| row.get("serial_number")).transpose()
}

/// Follows associations from a widget, as far as `most` widgets. Returns their numbers, the nearest first.
pub(crate) async fn reach(tx: &mut Tx, from: i64, most: u32) -> Result<Vec<i64>, StoreError> {
    let rows = tx
        .fetch_all(
            "WITH RECURSIVE reached (id) AS (
                 SELECT CAST($1 AS BIGINT) AS id
                 UNION SELECT n.id FROM reached r JOIN widgets w ON w.id = r.id JOIN widgets n ON n.id IN (w.slot1, w.slot2, w.slot3))
             SELECT id FROM reached LIMIT $2",
            params![from, most],
        )
        .await?;
    rows.iter().map(|row| row.get("id")).collect()
}

/// Reads the next widgets after a number, in the order of their numbers.
pub(crate) async fn widgets_after(
    tx: &mut Tx,
    after: i64,
    most: u32,
) -> Result<Vec<NamedWidget>, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT id, serial_number, name, ports, slot1, slot2, slot3 FROM widgets WHERE id > $1 ORDER BY id LIMIT $2",
            params![after, most],
        )
        .await?;
    rows.iter().map(named).collect()
}

/// An association, from the side of the lower number.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) first: String,
    pub(crate) second: String,
    pub(crate) port: String,
}

/// Reads the associations of the widgets whose numbers are above `after` and up to `last`, each once.
pub(crate) async fn associations_between(
    tx: &mut Tx,
    after: i64,
    last: i64,
) -> Result<Vec<Joined>, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT w.serial_number AS one, p.serial_number AS other,
                 CASE n.number WHEN 1 THEN substr(w.ports, 1, 1) WHEN 2 THEN substr(w.ports, 2, 1) ELSE substr(w.ports, 3, 1) END AS port
             FROM widgets w CROSS JOIN (SELECT 1 AS number UNION ALL SELECT 2 UNION ALL SELECT 3) AS n
             JOIN widgets p ON p.id = CASE n.number WHEN 1 THEN w.slot1 WHEN 2 THEN w.slot2 ELSE w.slot3 END
             WHERE w.id > $1 AND w.id <= $2 AND p.id > w.id ORDER BY w.id, n.number",
            params![after, last],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Joined {
                first: row.get("one")?,
                second: row.get("other")?,
                port: row.get("port")?,
            })
        })
        .collect()
}

/// Returns the highest number of a widget, 0 when there are none.
pub(crate) async fn highest_id(tx: &mut Tx) -> Result<i64, StoreError> {
    let row = tx
        .fetch_optional(
            "SELECT CAST(COALESCE(max(id), 0) AS BIGINT) AS last FROM widgets",
            (),
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("last"))
}

/// How many widgets are alike: the same ports, and the same slots taken.
#[derive(Clone, Debug)]
pub(crate) struct Alike {
    pub(crate) ports: String,
    /// Slot 1, 2 and 3 as bits 0, 1 and 2.
    pub(crate) taken: i64,
    pub(crate) count: u64,
}

/// Counts the widgets whose numbers are above `after` and up to `last`.
pub(crate) async fn count_alike(
    tx: &mut Tx,
    after: i64,
    last: i64,
) -> Result<Vec<Alike>, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT ports, taken, CAST(count(*) AS BIGINT) AS number FROM (
                 SELECT ports, CAST(CASE WHEN slot1 IS NULL THEN 0 ELSE 1 END + CASE WHEN slot2 IS NULL THEN 0 ELSE 2 END
                     + CASE WHEN slot3 IS NULL THEN 0 ELSE 4 END AS BIGINT) AS taken
                 FROM widgets WHERE id > $1 AND id <= $2) AS w
             GROUP BY ports, taken",
            params![after, last],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Alike {
                ports: row.get("ports")?,
                taken: row.get("taken")?,
                count: row.get("number")?,
            })
        })
        .collect()
}

/// A slot whose partner does not know of it.
#[derive(Clone, Debug)]
pub(crate) struct OneSided {
    pub(crate) id: i64,
    pub(crate) serial_number: String,
    pub(crate) slot: u32,
    pub(crate) partner: i64,
}

/// Looks for associations that stand on one side only, among the widgets whose numbers are above `after` and up to `last`: the first
/// `most` of them.
pub(crate) async fn one_sided(
    tx: &mut Tx,
    after: i64,
    last: i64,
    most: u32,
) -> Result<Vec<OneSided>, StoreError> {
    let rows = tx
        .fetch_all(
            "SELECT id, serial_number, number, partner FROM (
                 SELECT w.id AS id, w.serial_number AS serial_number, CAST(n.number AS BIGINT) AS number,
                     CASE n.number WHEN 1 THEN w.slot1 WHEN 2 THEN w.slot2 ELSE w.slot3 END AS partner,
                     CASE n.number WHEN 1 THEN substr(w.ports, 1, 1) WHEN 2 THEN substr(w.ports, 2, 1) ELSE substr(w.ports, 3, 1) END AS port
                 FROM widgets w CROSS JOIN (SELECT 1 AS number UNION ALL SELECT 2 UNION ALL SELECT 3) AS n
                 WHERE w.id > $1 AND w.id <= $2) AS s
             WHERE partner IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM widgets p WHERE p.id = s.partner
                     AND (p.slot1 = s.id AND substr(p.ports, 1, 1) = s.port OR p.slot2 = s.id AND substr(p.ports, 2, 1) = s.port
                         OR p.slot3 = s.id AND substr(p.ports, 3, 1) = s.port))
             ORDER BY id, number LIMIT $3",
            params![after, last, most],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(OneSided {
                id: row.get("id")?,
                serial_number: row.get("serial_number")?,
                slot: row.get("number")?,
                partner: row.get("partner")?,
            })
        })
        .collect()
}

/// Which of these serial numbers are stored, with which name and ports.
pub(crate) async fn stored_of(
    tx: &mut Tx,
    serials: &[Arc<str>],
) -> Result<Vec<NamedWidget>, StoreError> {
    const BY_SERIALS: Statement = Statement::per_engine(
        "SELECT id, serial_number, name, ports, slot1, slot2, slot3 FROM widgets
         WHERE serial_number IN (SELECT value FROM json_each($1))",
        "SELECT id, serial_number, name, ports, slot1, slot2, slot3 FROM widgets
         WHERE serial_number = ANY (ARRAY (SELECT j.v FROM jsonb_array_elements_text($1) AS j (v)))",
    );
    let serials: Vec<&str> = serials.iter().map(|serial| &**serial).collect();
    let serials = JsonText::of(&serials).map_err(|error| StoreError::Backend(error.into()))?;
    let rows = tx.fetch_all(BY_SERIALS, params![serials]).await?;
    rows.iter().map(named).collect()
}
