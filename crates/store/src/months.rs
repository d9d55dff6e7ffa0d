//! Tables whose rows are kept by months: on PostgreSQL in a partition each, made ahead and dropped as a whole.
//!
//! A month is one of UTC. Rows that came before there were partitions, or for which none was made in time, lie in the partitions `…_before`
//! and `…_after` and are removed one by one.

use primitives::Timestamp;

use crate::{Engine, StoreError, Tx, params};

/// A table with a column `at` of times. Its name is ours, never input.
#[derive(Clone, Copy, Debug)]
pub struct Monthly {
    table: &'static str,
}

/// A month of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Month {
    year: u32,
    month: u32,
}

impl Month {
    fn of(at: Timestamp) -> Option<Self> {
        Self::from_name(&at.to_rfc3339().get(..7)?.replace('-', "_"))
    }

    /// Reads `2026_01`.
    fn from_name(name: &str) -> Option<Self> {
        let (year, month) = name.split_once('_')?;
        let (year, month) = (year.parse().ok()?, month.parse().ok()?);
        (1..=12).contains(&month).then_some(Self { year, month })
    }

    fn name(self) -> String {
        format!("{:04}_{:02}", self.year, self.month)
    }

    const fn next(self) -> Self {
        match self.month {
            12 => Self {
                year: self.year + 1,
                month: 1,
            },
            month => Self {
                year: self.year,
                month: month + 1,
            },
        }
    }

    fn begins(self) -> Option<Timestamp> {
        Timestamp::parse_rfc3339(&format!("{:04}-{:02}-01T00:00:00Z", self.year, self.month))
    }
}

impl Monthly {
    /// Names the table.
    pub const fn new(table: &'static str) -> Self {
        Self { table }
    }

    /// Returns when the month of `at` began: what is older is removed with its month.
    pub fn month_of(at: Timestamp) -> Timestamp {
        Month::of(at).and_then(Month::begins).unwrap_or_default()
    }

    /// Makes the partitions of the month of `now` and of `ahead` months after it, and returns how many were missing. None on SQLite.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn make_ahead(
        &self,
        tx: &mut Tx,
        now: Timestamp,
        ahead: u32,
    ) -> Result<u32, StoreError> {
        if tx.engine() == Engine::Sqlite {
            return Ok(0);
        }
        let (table, mut made) = (self.table, 0);
        let mut month = Month::of(now);
        for _ in 0..=ahead {
            let Some(this) = month else { break };
            let next = this.next();
            month = Some(next);
            let (Some(from), Some(to)) = (this.begins(), next.begins()) else {
                break;
            };
            // Nor where rows of that time lie elsewhere already, which are removed from there.
            let taken = tx
                .fetch_optional(
                    "SELECT CAST(c.relname AS TEXT) AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                     WHERE i.inhparent = to_regclass($1) AND c.relname = $2",
                    params![table, format!("{table}_{}", this.name())],
                )
                .await?
                .is_some()
                || from < self.edge(tx).await?
                || self.has_stray(tx, from, to).await?;
            if !taken {
                let (name, from, to) = (this.name(), from.as_micros(), to.as_micros());
                tx.run_worded(
                    format!("CREATE TABLE {table}_{name} PARTITION OF {table} FOR VALUES FROM ({from}) TO ({to})"),
                    (),
                )
                .await?;
                made += 1;
            }
        }
        Ok(made)
    }

    /// Removes the rows before `cutoff`, the beginning of a month, and returns how many they were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_before(&self, tx: &mut Tx, cutoff: Timestamp) -> Result<u64, StoreError> {
        let table = self.table;
        let mut removed = 0;
        if tx.engine() == Engine::Postgres {
            let partitions = tx
                .fetch_all(
                    "SELECT CAST(c.relname AS TEXT) AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                     WHERE i.inhparent = to_regclass($1)",
                    params![table],
                )
                .await?;
            for row in partitions {
                let name: String = row.get("name")?;
                let month = name
                    .strip_prefix(table)
                    .and_then(|rest| Month::from_name(rest.strip_prefix('_')?));
                let ends = month.and_then(|month| month.next().begins());
                // Such names are ours: the table's and two numbers.
                if let (Some(month), Some(ends)) = (month, ends)
                    && ends <= cutoff
                {
                    let name = format!("{table}_{}", month.name());
                    let counted = format!("SELECT CAST(count(*) AS BIGINT) AS total FROM {name}");
                    for row in tx.fetch_worded(counted, ()).await? {
                        removed += row.get::<u64>("total")?;
                    }
                    tx.run_worded(format!("DROP TABLE {name}"), ()).await?;
                }
            }
        }
        let strays = format!("DELETE FROM {table} WHERE at < $1");
        Ok(removed + tx.run_worded(strays, params![cutoff]).await?)
    }

    /// Returns where the partition ends that holds what was there before there were others.
    async fn edge(&self, tx: &mut Tx) -> Result<Timestamp, StoreError> {
        let row = tx
            .fetch_optional(
                "SELECT CAST(substring(pg_get_expr(relpartbound, oid) FROM 'TO \\(''?([0-9]+)''?\\)') AS BIGINT) AS edge
                 FROM pg_class WHERE oid = to_regclass($1)",
                params![format!("{}_before", self.table)],
            )
            .await?;
        let edge = row.map_or(Ok(None), |row| row.get::<Option<Timestamp>>("edge"))?;
        Ok(edge.unwrap_or_default())
    }

    /// Tells whether rows of this time lie where those without a partition do.
    async fn has_stray(
        &self,
        tx: &mut Tx,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = format!(
            "SELECT at FROM {}_after WHERE at >= $1 AND at < $2 LIMIT 1",
            self.table
        );
        Ok(!tx.fetch_worded(sql, params![from, to]).await?.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_each_other_and_begin_at_their_first_day() {
        let at = |text| Timestamp::parse_rfc3339(text).unwrap();
        let month = Month::of(at("2026-12-31T23:59:59.999Z")).unwrap();
        assert_eq!(month.name(), "2026_12");
        assert_eq!(month.next().name(), "2027_01");
        assert_eq!(month.next().begins(), Some(at("2027-01-01T00:00:00Z")));
        assert_eq!(
            Monthly::month_of(at("2026-02-17T03:00:00Z")),
            at("2026-02-01T00:00:00Z")
        );
        assert_eq!(Month::from_name("before"), None);
        assert_eq!(Month::from_name("2026_13"), None);
    }
}
