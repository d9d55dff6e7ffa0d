//! The SQL that adds a record to the journal, alone or with the change that it tells of.

use ::store::{Engine, Params, Row, Statement, StoreError, Tx, params};

use super::audit::{HEAD, set_mark};
use super::generation::note_change_numbered;
use crate::audit::{AuditRecord, ChainHash};

/// Words the insertion of a record: its values stand alone, or come with the rows of another statement.
macro_rules! insertion {
    ($before:literal, $after:literal) => {
        concat!(
            "INSERT INTO audit_log (seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, ip,
             user_agent, old, new, hash, version, commitments, salts) ",
            $before,
            "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17",
            $after
        )
    };
}

/// The mark of the last record, written in the record's round trip.
macro_rules! head {
    ($before:literal, $after:literal) => {
        concat!(
            "head AS (INSERT INTO settings (key, value) ",
            $before,
            "$18, $19",
            $after,
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value)"
        )
    };
}

/// The note of the credential that a change is about, likewise.
macro_rules! noted {
    ($before:literal, $after:literal) => {
        concat!(
            ", noted AS (INSERT INTO credential_changes (generation, id) ",
            $before,
            "$20, $21",
            $after,
            ") "
        )
    };
}

const INSERT: &str = insertion!("VALUES (", ")");
const APPEND: &str = concat!(
    "WITH ",
    head!("VALUES (", ")"),
    " ",
    insertion!("VALUES (", ")")
);
const APPEND_NOTED: &str = concat!(
    "WITH ",
    head!("VALUES (", ")"),
    noted!("VALUES (", ")"),
    insertion!("VALUES (", ")")
);

/// How many parameters a record has with its note.
const RECORD_PARAMS: usize = 21;

/// The words of a change of one row, alone and with its record.
#[derive(Debug)]
pub(super) struct ChangeSql {
    alone: &'static str,
    recorded: String,
    /// Whether how the row was seen is the last parameter.
    compares: bool,
}

impl ChangeSql {
    /// Takes the insertion of a row whose parameters are numbered from 1, without gaps.
    pub(super) fn inserting(alone: &'static str) -> Self {
        let (change, _) = renumbered(alone);
        Self::recorded(alone, &change, false)
    }

    /// Takes the update of a row, likewise, that ends with what finds the row. PostgreSQL compares how it was seen, too.
    pub(super) fn updating(alone: &'static str) -> Self {
        let (change, last) = renumbered(alone);
        let seen = last + 1;
        let as_seen =
            format!("(CAST(${seen} AS TEXT) IS NULL OR xmin = CAST(CAST(${seen} AS TEXT) AS xid))");
        Self::recorded(alone, &format!("{change} AND {as_seen}"), true)
    }

    /// Hangs all on the row: where that is another one by now, nothing is written.
    fn recorded(alone: &'static str, change: &str, compares: bool) -> Self {
        Self {
            alone,
            compares,
            recorded: format!(
                concat!(
                    "WITH changed AS ({} RETURNING id), ",
                    head!("SELECT ", " FROM changed"),
                    noted!("SELECT ", " FROM changed"),
                    insertion!("SELECT ", " FROM changed")
                ),
                change
            ),
        }
    }
}

/// Numbers the parameters of a change after those of its record. Returns the last number.
fn renumbered(alone: &str) -> (String, usize) {
    let mut parts = alone.split('$');
    let before = parts.next().unwrap_or_default().to_owned();
    let mut last = RECORD_PARAMS;
    let change = parts.fold(before, |text, part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        let number = number.parse::<usize>().unwrap_or_default() + RECORD_PARAMS;
        last = last.max(number);
        format!("{text}${number}{rest}")
    });
    (change, last)
}

/// How a row was when it was read outside the transaction that changes it: PostgreSQL's `xmin`, the transaction that wrote the row.
#[derive(Clone, Debug)]
pub(crate) struct RowVersion(String);

impl RowVersion {
    /// Reads the column `row_version`.
    pub(super) fn read(row: &Row) -> Result<Self, StoreError> {
        row.get("row_version").map(Self)
    }
}

/// A change of a row that is written with its record: PostgreSQL makes both in one statement.
#[derive(Debug)]
#[must_use = "it is made with its record"]
pub(crate) struct RowChange {
    pub(super) sql: &'static ChangeSql,
    pub(super) params: Params,
    /// What an update is made to; whatever is there by now where absent.
    pub(super) seen: Option<RowVersion>,
}

/// Which key or session a change is about, and what it is if it is not made yet.
#[derive(Debug)]
pub(crate) struct About<'a> {
    /// The change's number.
    pub(crate) generation: i64,
    /// The id of the key or session.
    pub(crate) credential: &'a str,
    /// What is to be written with the record.
    pub(crate) change: Option<RowChange>,
}

/// Stores a record as the last one, with what it is about where that is a key or a session. Returns `false`, and nothing is stored,
/// where the row to change is not as it was seen.
pub(crate) async fn append_audit(
    tx: &mut Tx,
    record: &AuditRecord,
    hash: ChainHash,
    about: Option<About<'_>>,
) -> Result<bool, StoreError> {
    let (commitments, salts) = record.proof.columns();
    let mut values = params![
        record.seq,
        record.at,
        &record.action,
        &record.actor_kind,
        record.actor_id.as_deref(),
        &record.actor_name,
        record.org_id,
        &record.subject_kind,
        record.subject_id.as_deref(),
        record.ip.as_deref(),
        record.user_agent.as_deref(),
        record.old.as_deref(),
        record.new.as_deref(),
        hash.as_bytes(),
        record.proof.version(),
        commitments,
        salts,
    ];
    let head = format!("{}:{}:{}", record.seq, hash.to_hex(), record.at.as_micros());
    match tx.engine() {
        Engine::Postgres => {
            values.extend(params![HEAD, head]);
            let sql: Statement = match about {
                Some(About {
                    generation,
                    credential,
                    change,
                }) => {
                    values.extend(params![generation, credential]);
                    change.map_or(APPEND_NOTED.into(), |change| {
                        values.extend(change.params);
                        if change.sql.compares {
                            values.extend(params![change.seen.map(|RowVersion(seen)| seen)]);
                        }
                        change.sql.recorded.as_str().into()
                    })
                }
                None => APPEND.into(),
            };
            Ok(tx.execute(sql, values).await? > 0)
        }
        Engine::Sqlite => {
            tx.execute(INSERT, values).await?;
            set_mark(tx, HEAD, head).await?;
            if let Some(about) = about {
                note_change_numbered(tx, about.generation, about.credential).await?;
                if let Some(change) = about.change {
                    tx.execute(change.sql.alone, change.params).await?;
                }
            }
            Ok(true)
        }
    }
}
