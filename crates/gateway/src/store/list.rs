//! Lists of records: what leads to them, and how many there are.

use primitives::{COUNTED, NodeId, RequestId, Timestamp};
use store::{Db, Params, Row, StoreError, params};

use super::{StoredRecord, record};

/// What to list. Absent: everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) model: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) outcome: Option<String>,
    pub(crate) since: Option<Timestamp>,
    /// Of one of these keys and people, by id.
    pub(crate) callers: Option<Vec<String>>,
    /// Only records older than this one.
    pub(crate) before: Option<String>,
    /// How many of the newest to leave out.
    pub(crate) skipped: u32,
}

/// Records that are looked through at a time for what has no index of its own: another one would cost every record about as much as its
/// row does.
pub(super) const WINDOW: u32 = 25_000;
/// The most windows of one page. It is shorter, but leads on, when there was too little in them.
const WINDOWS: u32 = 40;

/// Sorts after every id.
pub(super) const LAST: &str = "\u{10ffff}";

/// Records as listed, and from where to go on where not all of them were looked at.
pub(crate) struct Listed {
    pub(crate) records: Vec<StoredRecord>,
    pub(crate) looked_until: Option<String>,
}

/// The parameters `$1` to `$7` are: before which id, from which id on, model, node, outcome, since, a list of callers; `$8` how many
/// records at most, `$9` how many of them to leave out.
macro_rules! narrowed {
    ($selected:literal, $leader:literal) => {
        concat!(
            "SELECT ",
            $selected,
            " FROM requests WHERE ",
            $leader,
            " AND id < $1 AND id >= $2 AND (CAST($3 AS TEXT) IS NULL OR model = $3)
              AND (CAST($4 AS TEXT) IS NULL OR node_name = $4 OR node_id = $4)
              AND (CAST($5 AS TEXT) IS NULL OR outcome = $5) AND (CAST($6 AS BIGINT) IS NULL OR received_at >= $6)
              AND (CAST($7 AS TEXT) IS NULL OR $7 LIKE '%' || principal_id || '%')
              ORDER BY id DESC LIMIT $8 OFFSET $9"
        )
    };
}

/// What leads a query by an index: the list, and the count of what matches.
struct Led {
    list: &'static str,
    count: &'static str,
}

macro_rules! led {
    ($leader:literal) => {
        Led {
            list: narrowed!("*", $leader),
            count: concat!(
                "SELECT CAST(count(*) AS BIGINT) AS total FROM (",
                narrowed!("id", $leader),
                ") AS counted"
            ),
        }
    };
}

/// The count of what one index leads to: from the id `$1` on, of a value `$2`, `$3` at most.
macro_rules! counted {
    ($leader:literal) => {
        concat!(
            "SELECT CAST(count(*) AS BIGINT) AS total FROM (SELECT id FROM requests WHERE ",
            $leader,
            " AND id >= $1 ORDER BY id DESC LIMIT $3) AS counted"
        )
    };
}

impl Filter {
    fn of_ended_badly(&self) -> bool {
        self.outcome.as_deref().is_some_and(|name| name != "ok")
    }

    /// Nodes are asked for by name; by id they are looked for.
    fn node_by_name(&self) -> bool {
        self.node
            .as_deref()
            .is_some_and(|node| node.parse::<NodeId>().is_err())
    }

    fn led(&self) -> Led {
        if self.of_ended_badly() {
            led!("outcome = $5 AND outcome <> 'ok'")
        } else if self.model.is_some() {
            led!("model = $3")
        } else if self.node_by_name() {
            led!("node_name = $4")
        } else {
            led!("id <> ''")
        }
    }

    /// Tells whether what leads the query by an index is all that narrows it, so that what matches lies together.
    fn lies_together(&self) -> bool {
        let (by_model, by_node) = (self.model.is_some(), self.node.is_some());
        let narrows = [by_model, by_node, self.outcome.is_some()];
        let narrows = narrows.iter().filter(|narrows| **narrows).count();
        self.callers.is_none()
            && narrows <= 1
            && (!by_node || self.node_by_name())
            && (self.outcome.is_none() || self.of_ended_badly())
    }

    fn params(&self, (before, from): (&str, &str), limit: i64, skipped: u32) -> Params {
        params![
            before,
            from,
            self.model.clone(),
            self.node.clone(),
            self.outcome.clone(),
            self.since,
            self.callers.as_ref().map(|ids| ids.join(" ")),
            limit,
            skipped
        ]
    }

    fn floor(&self) -> String {
        let floor = self.since.map(RequestId::first_at);
        floor.map(|id| id.to_string()).unwrap_or_default()
    }
}

/// Lists records, newest first. Ids begin with the time of arrival, so their order is the order of arrival.
pub(crate) async fn list_records(
    db: &Db,
    filter: &Filter,
    limit: u32,
) -> Result<Listed, StoreError> {
    let floor = filter.floor();
    let mut before = filter.before.clone().unwrap_or_else(|| LAST.to_owned());
    let mut records = Vec::new();
    let led = filter.led();
    // What leads the query by an index need not be looked for, what narrows it further may be rare.
    let (by_model, by_node) = (filter.model.is_some(), filter.node.is_some());
    let looked_for = by_node && (by_model || !filter.node_by_name()) || filter.callers.is_some();
    let in_windows = !filter.of_ended_badly() && looked_for;
    let mut tx = db.read().await?;
    let mut windows = 0;
    let mut skipped = filter.skipped;
    let looked_until = loop {
        let edge = if in_windows {
            tx.fetch_optional(
                "SELECT id FROM requests WHERE id < $1 AND id >= $2 ORDER BY id DESC LIMIT 1 OFFSET $3",
                params![&before, &floor, WINDOW],
            )
            .await?
            .map(|row| row.get::<String>("id"))
            .transpose()?
        } else {
            None
        };
        let between = (&*before, edge.as_deref().unwrap_or(&floor));
        // What is left out may lie in several windows.
        let found = if in_windows && skipped > 0 {
            let values = filter.params(between, i64::from(skipped), 0);
            read_total(tx.fetch_optional(led.count, values).await?.as_ref())?
        } else {
            u64::from(skipped)
        };
        if found < u64::from(skipped) {
            skipped -= u32::try_from(found).unwrap_or(skipped);
        } else {
            let left = i64::from(limit) - records.len() as i64;
            let values = filter.params(between, left, skipped);
            for row in &tx.fetch_all(led.list, values).await? {
                records.push(record(row, false)?);
            }
            skipped = 0;
        }
        windows += 1;
        match edge {
            Some(edge) if records.len() < limit as usize => {
                if windows == WINDOWS {
                    break Some(edge);
                }
                before = edge;
            }
            _ => break None,
        }
    };
    tx.commit().await?;
    Ok(Listed {
        records,
        looked_until,
    })
}

/// Counts the records that a filter lets through, at most [`COUNTED`]; nothing where they would have to be looked for. Only what the
/// index has is read: a count is made for every page.
pub(crate) async fn count_records(db: &Db, filter: &Filter) -> Result<Option<u64>, StoreError> {
    if !filter.lies_together() {
        return Ok(None);
    }
    let (sql, of) = if filter.of_ended_badly() {
        (
            counted!("outcome = $2 AND outcome <> 'ok'"),
            &filter.outcome,
        )
    } else if filter.model.is_some() {
        (counted!("model = $2"), &filter.model)
    } else if filter.node.is_some() {
        (counted!("node_name = $2"), &filter.node)
    } else {
        (counted!("CAST($2 AS TEXT) IS NULL"), &None)
    };
    let mut tx = db.read().await?;
    let values = params![filter.floor(), of.clone(), COUNTED];
    let row = tx.fetch_optional(sql, values).await?;
    tx.commit().await?;
    read_total(row.as_ref()).map(Some)
}

fn read_total(row: Option<&Row>) -> Result<u64, StoreError> {
    row.map_or(Ok(0), |row| row.get("total"))
}
