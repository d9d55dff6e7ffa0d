//! The tables as the database itself describes them.

use std::collections::BTreeMap;

use crate::{ColumnType, Statement, StoreError, Tx};

/// A table of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<(String, ColumnType)>,
}

/// JSON is a checked text on SQLite. The journal of migrations belongs to the schema, not to what is in it.
const COLUMNS: Statement = Statement::per_engine(
    "SELECT m.name AS t, c.name AS c,
         CASE WHEN m.sql LIKE '%json_valid(' || c.name || ')%' THEN 'jsonb' ELSE lower(c.type) END AS kind
     FROM sqlite_master m, pragma_table_info(m.name) c
     WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name <> '_migrations'
     ORDER BY m.name, c.cid",
    "SELECT CAST(table_name AS TEXT) AS t, CAST(column_name AS TEXT) AS c, CAST(data_type AS TEXT) AS kind
     FROM information_schema.columns
     WHERE table_schema = current_schema() AND table_name <> '_migrations'
         AND table_name IN (SELECT tablename FROM pg_tables WHERE schemaname = current_schema())
         AND NOT (SELECT p.relispartition FROM pg_class p WHERE p.oid = to_regclass(quote_ident(table_name)))
     ORDER BY table_name, ordinal_position",
);

const REFERENCES: Statement = Statement::per_engine(
    "SELECT m.name AS t, f.\"table\" AS parent FROM sqlite_master m, pragma_foreign_key_list(m.name) f
     WHERE m.type = 'table'",
    "SELECT CAST(child.relname AS TEXT) AS t, CAST(parent.relname AS TEXT) AS parent
     FROM pg_constraint k JOIN pg_class child ON child.oid = k.conrelid JOIN pg_class parent ON parent.oid = k.confrelid
     JOIN pg_namespace s ON s.oid = child.relnamespace
     WHERE k.contype = 'f' AND s.nspname = current_schema()",
);

/// Lists the tables, each after those that it refers to.
pub(super) async fn tables(tx: &mut Tx) -> Result<Vec<Table>, StoreError> {
    let mut left: BTreeMap<String, Vec<(String, ColumnType)>> = BTreeMap::new();
    for row in tx.fetch_all(COLUMNS, ()).await? {
        let kind: String = row.get("kind")?;
        let column = (row.get("c")?, column_type(&kind)?);
        left.entry(row.get("t")?).or_default().push(column);
    }
    let mut references = Vec::new();
    for row in tx.fetch_all(REFERENCES, ()).await? {
        references.push((row.get::<String>("t")?, row.get::<String>("parent")?));
    }
    let mut sorted = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |name: &String| {
            references
                .iter()
                .any(|(child, parent)| child == name && parent != name && left.contains_key(parent))
        };
        let Some(name) = left.keys().find(|name| !waits(name)).cloned() else {
            return Err(StoreError::Backend(
                "tables refer to each other in a ring".into(),
            ));
        };
        if let Some(columns) = left.remove(&name) {
            sorted.push(Table { name, columns });
        }
    }
    Ok(sorted)
}

fn column_type(kind: &str) -> Result<ColumnType, StoreError> {
    Ok(match kind {
        // SQLite keeps a table in the order of a key of this type.
        "bigint" | "integer" => ColumnType::I64,
        "double precision" => ColumnType::F64,
        "text" => ColumnType::Text,
        "boolean" => ColumnType::Bool,
        "jsonb" => ColumnType::Json,
        "bytea" | "blob" => ColumnType::Bytes,
        other => {
            return Err(StoreError::Backend(
                format!("a column of type {other}").into(),
            ));
        }
    })
}

impl Table {
    /// Returns the names of the columns, quoted and joined.
    pub(super) fn column_list(&self) -> String {
        let quoted: Vec<String> = self.columns.iter().map(|(name, _)| quoted(name)).collect();
        quoted.join(", ")
    }
}

/// Quotes a name that comes from the database's own catalogue.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
