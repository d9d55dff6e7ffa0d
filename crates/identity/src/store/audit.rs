//! The SQL of the journal of changes.

use ::store::{Engine, Param, Params, Row, Statement, StoreError, Tx, params};
use primitives::{COUNTED, PageRequest, Timestamp};

use super::generation::note_change_numbered;
use super::read_total;
use crate::audit::{AuditFilter, AuditRecord, ChainHash, Proof};
use crate::organisations::OrgScope;

const HEAD: &str = "audit.head";
const BASE: &str = "audit.base";

fn read(row: &Row) -> Result<(AuditRecord, ChainHash), StoreError> {
    let record = AuditRecord {
        seq: row.get("seq")?,
        at: row.get("at")?,
        action: row.get("action")?,
        actor_kind: row.get("actor_kind")?,
        actor_id: row.get("actor_id")?,
        actor_name: row.get("actor_name")?,
        org_id: row.get("org_id")?,
        subject_kind: row.get("subject_kind")?,
        subject_id: row.get("subject_id")?,
        ip: row.get("ip")?,
        user_agent: row.get("user_agent")?,
        old: row.get("old")?,
        new: row.get("new")?,
        proof: read_proof(row)?,
    };
    Ok((record, read_hash(row)?))
}

fn read_proof(row: &Row) -> Result<Proof, StoreError> {
    Proof::from_columns(
        row.get("version")?,
        row.get("commitments")?,
        row.get("salts")?,
    )
    .ok_or_else(|| StoreError::Corrupt {
        column: "commitments".to_owned(),
        reason: "not five commitments with their salts".to_owned(),
    })
}

fn read_hash(row: &Row) -> Result<ChainHash, StoreError> {
    ChainHash::from_slice(&row.get::<Vec<u8>>("hash")?).ok_or_else(|| StoreError::Corrupt {
        column: "hash".to_owned(),
        reason: "not 32 bytes".to_owned(),
    })
}

/// A number, a hash, and for the head the time of that record; marks of earlier builds have none.
pub(crate) type Mark = (i64, ChainHash, Option<Timestamp>);

async fn find_mark(tx: &mut Tx, key: &str) -> Result<Option<Mark>, StoreError> {
    let row = tx
        .fetch_optional("SELECT value FROM settings WHERE key = $1", params![key])
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    read_mark(&row.get::<String>("value")?).map(Some)
}

pub(super) fn read_mark(value: &str) -> Result<Mark, StoreError> {
    parse_mark(value).ok_or_else(|| StoreError::Corrupt {
        column: "value".to_owned(),
        reason: "the mark of a record is not a number, a hash and a time".to_owned(),
    })
}

fn parse_mark(value: &str) -> Option<Mark> {
    let mut parts = value.split(':');
    let seq = parts.next()?.parse().ok()?;
    let hash = ChainHash::from_hex(parts.next()?)?;
    let at = match parts.next() {
        Some(at) => Some(Timestamp::from_micros(at.parse().ok()?)),
        None => None,
    };
    Some((seq, hash, at))
}

async fn set_mark(tx: &mut Tx, key: &str, value: String) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![key, value],
    )
    .await?;
    Ok(())
}

/// Returns the number, the hash and the time of the last record ever written.
pub(crate) async fn audit_head(tx: &mut Tx) -> Result<Option<Mark>, StoreError> {
    find_mark(tx, HEAD).await
}

/// Returns the number and the hash of the last record that was removed for its age.
pub(crate) async fn audit_base(tx: &mut Tx) -> Result<Option<(i64, ChainHash)>, StoreError> {
    let mark = find_mark(tx, BASE).await?;
    Ok(mark.map(|(seq, hash, _)| (seq, hash)))
}

pub(crate) async fn set_audit_base(
    tx: &mut Tx,
    seq: i64,
    hash: ChainHash,
) -> Result<(), StoreError> {
    set_mark(tx, BASE, format!("{seq}:{}", hash.to_hex())).await
}

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

/// What leads to records that name a person.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trace<'a> {
    /// Who did it, by id.
    Actor(&'a str),
    /// What was changed, by id.
    Subject(&'a str),
    /// What was before or after is like this.
    Told(&'a str),
}

/// Numbers of records, and where to go on looking for more.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) found: Vec<i64>,
    pub(crate) go_on: Option<i64>,
}

/// Records whose states are looked through at a time.
const WINDOW: i64 = 50_000;

/// Returns the numbers of some records after `seq` that a trace leads to.
pub(crate) async fn audit_traces(
    tx: &mut Tx,
    trace: Trace<'_>,
    seq: i64,
    limit: u32,
) -> Result<Traced, StoreError> {
    macro_rules! between {
        ($leader:literal) => {
            concat!(
                "SELECT seq FROM audit_log WHERE ",
                $leader,
                " AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4"
            )
        };
    }
    let (sql, of, until, last) = match trace {
        Trace::Actor(id) => (between!("actor_id = $1"), id, i64::MAX, 0),
        Trace::Subject(id) => (between!("subject_id = $1"), id, i64::MAX, 0),
        Trace::Told(pattern) => {
            let ends = tx
                .fetch_optional(
                    "SELECT (SELECT min(seq) FROM audit_log) AS first_seq, (SELECT max(seq) FROM audit_log) AS last_seq",
                    (),
                )
                .await?;
            let end = |name: &str| ends.as_ref().map_or(Ok(None), |row| row.get(name));
            let first = end("first_seq")?.unwrap_or(0);
            let until = seq.max(first - 1).saturating_add(WINDOW);
            let sql = between!("(old LIKE $1 ESCAPE '\\' OR new LIKE $1 ESCAPE '\\')");
            (sql, pattern, until, end("last_seq")?.unwrap_or(0))
        }
    };
    let rows = tx.fetch_all(sql, params![of, seq, until, limit]).await?;
    let found = rows
        .iter()
        .map(|row| row.get("seq"))
        .collect::<Result<Vec<i64>, _>>()?;
    let go_on = if found.len() >= limit as usize {
        found.last().copied()
    } else {
        (until < last).then_some(until)
    };
    Ok(Traced { found, go_on })
}

/// Finds a record by its number.
pub(crate) async fn find_audit(tx: &mut Tx, seq: i64) -> Result<Option<AuditRecord>, StoreError> {
    tx.fetch_optional(
        "SELECT seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, ip, user_agent, old, new, hash,
             version, commitments, salts FROM audit_log WHERE seq = $1",
        params![seq],
    )
    .await?
    .map(|row| read(&row).map(|(record, _)| record))
    .transpose()
}

/// Writes what is left of a record.
pub(crate) async fn put_erased(tx: &mut Tx, record: &AuditRecord) -> Result<(), StoreError> {
    let (_, salts) = record.proof.columns();
    tx.execute(
        "UPDATE audit_log SET actor_name = $2, ip = $3, user_agent = $4, old = $5, new = $6, version = $7, salts = $8 WHERE seq = $1",
        params![
            record.seq,
            &record.actor_name,
            record.ip.as_deref(),
            record.user_agent.as_deref(),
            record.old.as_deref(),
            record.new.as_deref(),
            record.proof.version(),
            salts
        ],
    )
    .await?;
    Ok(())
}

/// Words a query of the journal for each filter that can lead it: the one that names the fewest records goes by its index.
/// The parameters `$1` to `$6` are the filters, in the order of [`filters`].
macro_rules! led {
    ($filter:expr, $scope:expr, $before:literal, $after:literal) => {
        match ($filter, $scope) {
            (AuditFilter { subject_id: Some(_), .. }, _) => led!(@ $before, "subject_id = $4", $after),
            (AuditFilter { actor_id: Some(_), .. }, _) => led!(@ $before, "actor_id = $3", $after),
            (AuditFilter { action: Some(_), .. }, _) => led!(@ $before, "action = $2", $after),
            (_, OrgScope::One(_)) => led!(@ $before, "org_id = $1", $after),
            (_, OrgScope::All) => led!(@ $before, "seq > 0", $after),
        }
    };
    (@ $before:literal, $leader:literal, $after:literal) => {
        concat!(
            $before, " FROM audit_log WHERE ", $leader,
            " AND (CAST($1 AS TEXT) IS NULL OR org_id = $1) AND (CAST($2 AS TEXT) IS NULL OR action = $2)
              AND (CAST($3 AS TEXT) IS NULL OR actor_id = $3) AND (CAST($4 AS TEXT) IS NULL OR subject_id = $4)
              AND (CAST($5 AS BIGINT) IS NULL OR at >= $5) AND (CAST($6 AS BIGINT) IS NULL OR at < $6) ",
            $after
        )
    };
}

fn filters(scope: OrgScope, filter: &AuditFilter) -> [Param; 6] {
    [
        scope.id().into(),
        filter.action.as_deref().into(),
        filter.actor_id.as_deref().into(),
        filter.subject_id.as_deref().into(),
        filter.since.into(),
        filter.until.into(),
    ]
}

/// Lists records before `before`, the newest first, and counts them.
pub(crate) async fn list_audit(
    tx: &mut Tx,
    scope: OrgScope,
    filter: &AuditFilter,
    before: i64,
    page: &PageRequest,
) -> Result<(Vec<AuditRecord>, u64), StoreError> {
    let list = led!(
        filter,
        scope,
        "SELECT seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, ip, user_agent, old, new, hash, version,
             commitments, salts",
        "AND seq < $7 ORDER BY seq DESC LIMIT $8 OFFSET $9"
    );
    let count = led!(
        filter,
        scope,
        "SELECT CAST(count(*) AS BIGINT) AS total FROM (SELECT 1",
        "LIMIT $7) AS counted"
    );
    let mut values = Vec::from(filters(scope, filter));
    values.extend([
        before.into(),
        (page.size() + 1).into(),
        page.skipped().into(),
    ]);
    let found = tx
        .fetch_all(list, values)
        .await?
        .iter()
        .map(|row| read(row).map(|(record, _)| record))
        .collect::<Result<_, _>>()?;
    let total = if scope == OrgScope::All && *filter == AuditFilter::default() {
        // Numbers have no gaps, so that nothing need be counted.
        tx.fetch_optional(
            "SELECT (SELECT max(seq) FROM audit_log) - (SELECT min(seq) FROM audit_log) + 1 AS total",
            (),
        )
        .await?
        .map_or(Ok(None), |row| row.get::<Option<u64>>("total"))?
        .unwrap_or(0)
        .min(COUNTED)
    } else {
        let mut values = Vec::from(filters(scope, filter));
        values.push(COUNTED.into());
        read_total(tx.fetch_optional(count, values).await?.as_ref())?
    };
    Ok((found, total))
}

/// Returns the records after `seq` with their hashes, the oldest first.
pub(crate) async fn audit_after(
    tx: &mut Tx,
    seq: i64,
    limit: u32,
) -> Result<Vec<(AuditRecord, ChainHash)>, StoreError> {
    tx.fetch_all(
        "SELECT seq, at, action, actor_kind, actor_id, actor_name, org_id, subject_kind, subject_id, ip, user_agent, old, new, hash,
             version, commitments, salts
         FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2",
        params![seq, limit],
    )
    .await?
    .iter()
    .map(read)
    .collect()
}

/// Returns the last record that was written before this time and after which none is older.
pub(crate) async fn last_audit_before(
    tx: &mut Tx,
    cutoff: Timestamp,
) -> Result<Option<(i64, ChainHash)>, StoreError> {
    tx.fetch_optional(
        "SELECT seq, hash FROM audit_log
         WHERE seq < (SELECT COALESCE(min(seq), 9223372036854775807) FROM audit_log WHERE at >= $1)
         ORDER BY seq DESC LIMIT 1",
        params![cutoff],
    )
    .await?
    .map(|row| Ok((row.get("seq")?, read_hash(&row)?)))
    .transpose()
}
